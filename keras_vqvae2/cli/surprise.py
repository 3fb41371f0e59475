import math

import numpy as np

import keras_vqvae2
from keras_vqvae2.cli.options import MODEL_WITH_PRIORS
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_overwrite
from keras_vqvae2.cli.options import label
from keras_vqvae2.cli.paths import image_paths
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.files import shown
from keras_vqvae2.visualization import SUFFIXES
from keras_vqvae2.visualization import heat_map
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image

_BATCH_SIZE = 16


def add_arguments(parser):
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="file for an image beside its maps, one for each level, or a "
        "folder if there are several",
    )
    parser.add_argument(
        "--label", type=label, help="class of the images, by number or name"
    )
    add_overwrite(parser)
    add_model(parser, MODEL_WITH_PRIORS)


def run(args):
    paths = image_paths(args.images)
    outputs = output_paths(paths, args.output, SUFFIXES, args.overwrite)
    model = keras_vqvae2.from_pretrained(args.model)
    if len(paths) > _BATCH_SIZE:
        model.keep_priors()
    # From black to the brightest: half as much again as codes of no prior.
    high = 1.5 * math.log2(model.vqvae.num_embeddings)
    rows = []
    pairs = list(zip(paths, outputs, strict=True))
    for start in range(0, len(pairs), _BATCH_SIZE):
        batch = pairs[start : start + _BATCH_SIZE]
        images = _stacked([path for path, _ in batch])
        labels = None if args.label is None else [args.label] * len(images)
        surprise = model.surprise(images, labels, batch_size=_BATCH_SIZE)
        for i, (path, output) in enumerate(batch):
            maps = [heat_map(level[i], high) for level in surprise.maps]
            save_image(output, image_grid([[images[i], *maps]]))
            scores = surprise.scores[i], surprise.excess_scores[i]
            rows.append((*map(float, scores), path, output))
    for bits, excess, path, output in sorted(
        rows, key=lambda row: row[1], reverse=True
    ):
        print(
            f"{shown(path)}: {bits:.3f} bits per pixel, {excess:+.3f} more "
            f"than expected -> {shown(output)}"
        )


def _stacked(paths):
    images = [keras_vqvae2.data.load_image(path) for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                "All images must have the size that the priors are of. "
                f"Received {images[0].shape[1]}x{images[0].shape[0]} "
                f"({paths[0]}) and {image.shape[1]}x{image.shape[0]} ({path})."
            )
    return np.stack(images)

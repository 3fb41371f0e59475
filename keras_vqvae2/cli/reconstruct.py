import numpy as np

import keras_vqvae2
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_overwrite
from keras_vqvae2.cli.paths import image_paths
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.files import shown
from keras_vqvae2.images import psnr
from keras_vqvae2.visualization import SUFFIXES
from keras_vqvae2.visualization import figure3
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image


def add_arguments(parser):
    parser.add_argument("images", nargs="*", help="image files or folders")
    parser.add_argument(
        "--sample",
        action="store_true",
        help="use the photograph that comes with matplotlib",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="reconstruction.png",
        help="image file, or a folder if there are several images "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--levels",
        action="store_true",
        help="also show the images decoded from the first 1, 2, ... levels "
        "(figure 3)",
    )
    add_overwrite(parser)
    add_model(parser)


def run(args):
    if args.sample:
        args.images.append(keras_vqvae2.data.image_file.sample_photograph())
    if not args.images:
        raise ValueError(
            "No image given. Name image files or folders, or use --sample."
        )
    paths = image_paths(args.images)
    outputs = output_paths(paths, args.output, SUFFIXES, args.overwrite)
    model = keras_vqvae2.from_pretrained(args.model)
    scores, bits = [], []
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        image = keras_vqvae2.data.load_image(path)
        reconstruction = model.reconstruct(image[None])
        if args.levels:
            picture = figure3(model, image[None])
        else:
            picture = image_grid([[image, reconstruction[0]]])
        save_image(output, picture)
        height, width = image.shape[:2]
        scores.append(psnr(image[None], reconstruction)[0])
        size = len(model.compress(image[None])[0])
        bits.append(8 * size / (height * width))
        print(
            f"[{i + 1}/{len(paths)}] {shown(path)}: {width}x{height}, "
            f"PSNR {scores[-1]:.2f} dB, {bits[-1]:.3f} bits per pixel "
            f"-> {shown(output)}",
            flush=True,
        )
    if len(paths) > 1:
        print(
            f"mean of {len(paths)}: PSNR {np.mean(scores):.2f} dB, "
            f"{np.mean(bits):.3f} bits per pixel"
        )

import pathlib

import keras_vqvae2
from keras_vqvae2.cli.options import MODEL_WITH_PRIORS
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import add_overwrite
from keras_vqvae2.cli.options import add_sampling
from keras_vqvae2.cli.options import label
from keras_vqvae2.cli.options import positive
from keras_vqvae2.cli.options import sampling_options
from keras_vqvae2.cli.paths import check_outputs
from keras_vqvae2.cli.paths import check_suffix
from keras_vqvae2.files import check_writable
from keras_vqvae2.files import shown
from keras_vqvae2.visualization import SUFFIXES
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image

_NUM_IMAGES = 16


def add_arguments(parser):
    add_model(parser, MODEL_WITH_PRIORS)
    parser.add_argument(
        "-o", "--output", required=True, help="folder for the images"
    )
    parser.add_argument(
        "--labels",
        type=label,
        nargs="+",
        help="class of each image, by number or name",
    )
    parser.add_argument(
        "--num-images",
        type=positive,
        help=f"number of images (default: that of --labels, or {_NUM_IMAGES})",
    )
    parser.add_argument("--grid", help="also save all images as one image")
    add_overwrite(parser)
    parser.add_argument(
        "--classifier",
        help=".keras file that judges the candidates, see --num-candidates; "
        "or cifar10-classifier, which comes with the package",
    )
    add_numbers(
        parser,
        (
            "num-candidates",
            positive,
            1,
            "candidates for each image, of which --classifier keeps the best",
        ),
    )
    add_sampling(parser)
    parser.add_argument(
        "--parallel",
        action="store_true",
        help="find all codes of a map at once: for accelerators",
    )


def run(args):
    if args.num_images is None and args.labels is None:
        args.num_images = _NUM_IMAGES
    count = keras_vqvae2.sampling.generate.count_images(
        args.num_images, args.labels
    )
    folder = pathlib.Path(args.output)
    check_writable(folder, folder=True)
    outputs = [folder / f"{i:05}.png" for i in range(count)]
    if args.grid:
        check_suffix("grid", args.grid, SUFFIXES)
    check_outputs(
        outputs + [args.grid] * bool(args.grid),
        args.overwrite,
    )
    classifier = args.classifier
    if classifier is not None:
        classifier = keras_vqvae2.evaluation.load_classifier(classifier)
    images = keras_vqvae2.from_pretrained(args.model).generate(
        args.num_images,
        args.labels,
        classifier=classifier,
        num_candidates=args.num_candidates,
        verbose=1,
        parallel=args.parallel,
        **sampling_options(args),
    )
    # After Ctrl-C there are fewer.
    for path, image in zip(outputs, images, strict=False):
        save_image(path, image)
    if args.grid:
        side = round(len(images) ** 0.5)
        rows = [images[i : i + side] for i in range(0, len(images), side)]
        save_image(args.grid, image_grid(rows))
    print(f"{len(images)} images: {shown(folder)}")

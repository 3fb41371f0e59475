import os

import keras_vqvae2
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_overwrite
from keras_vqvae2.cli.options import workers
from keras_vqvae2.cli.paths import image_paths
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.codec.header import METHODS
from keras_vqvae2.files import atomic_path
from keras_vqvae2.files import shown


def add_arguments(parser):
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument(
        "-o", "--output", required=True, help="folder, or a .codes file"
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        help="how the codes are stored (default: the smallest file)",
    )
    parser.add_argument(
        "--rate-weight",
        type=float,
        default=0.0,
        help="above 0 for smaller files of less quality, for example 0.1 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--search-steps",
        type=int,
        default=0,
        help="steps of a search for codes of a nearer image, for example 12: "
        "about as many bytes, 0.2 dB more, seconds for each (default: "
        "%(default)s)",
    )
    add_overwrite(parser)
    add_model(parser)


def run(args):
    paths = image_paths(args.images)
    outputs = output_paths(paths, args.output, (".codes",), args.overwrite)
    model = keras_vqvae2.from_pretrained(args.model)
    sizes = []

    def load(path):
        image = keras_vqvae2.data.load_image(path)
        sizes.append(image.shape[:2])
        return image

    files = model.iterate_compress(
        map(load, paths),
        args.method,
        args.rate_weight,
        num_workers=workers(paths),
        search_steps=args.search_steps,
    )
    for i, (path, output, data) in enumerate(
        zip(paths, outputs, files, strict=True)
    ):
        with atomic_path(output) as temporary:
            temporary.write_bytes(data)
        height, width = sizes[i]
        print(
            f"[{i + 1}/{len(paths)}] {shown(path)} -> {shown(output)}, "
            f"{len(data)} bytes, "
            f"{8 * len(data) / (height * width):.3f} bits per pixel, "
            f"{os.path.getsize(path) / len(data):.1f} times smaller than the "
            "source"
        )

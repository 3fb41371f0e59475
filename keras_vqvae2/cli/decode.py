import pathlib

import keras_vqvae2
from keras_vqvae2.cli.options import add_overwrite
from keras_vqvae2.cli.options import positive
from keras_vqvae2.cli.options import workers
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.codec import find_model_name
from keras_vqvae2.codec import read_header
from keras_vqvae2.files import shown
from keras_vqvae2.visualization import SUFFIXES
from keras_vqvae2.visualization import save_image


def add_arguments(parser):
    parser.add_argument("codes", nargs="+", help=".codes files or folders")
    parser.add_argument(
        "-o", "--output", required=True, help="folder, or an image file"
    )
    add_overwrite(parser)
    parser.add_argument(
        "--levels", type=positive, help="decode from the first LEVELS maps only"
    )
    parser.add_argument(
        "--model",
        help="model that made the files (default: the preset of the name that "
        "they give)",
    )


def run(args):
    paths = _code_paths(args.codes)
    outputs = output_paths(paths, args.output, SUFFIXES, args.overwrite)
    names = [args.model or find_model_name(read_header(p), p) for p in paths]
    done = 0
    # One model after another: each has its own processes.
    for name in dict.fromkeys(names):
        chosen = [i for i, other in enumerate(names) if other == name]
        images = keras_vqvae2.from_pretrained(name).iterate_decompress(
            [paths[i] for i in chosen],
            args.levels,
            num_workers=workers(chosen),
        )
        for i, image in zip(chosen, images, strict=True):
            save_image(outputs[i], image)
            done += 1
            height, width = image.shape[:2]
            print(
                f"[{done}/{len(paths)}] {shown(paths[i])} -> "
                f"{shown(outputs[i])}, {width}x{height}"
            )


def _code_paths(names):
    paths = []
    for name in map(pathlib.Path, names):
        if not name.exists():
            raise FileNotFoundError(f"There is no file or folder {name}.")
        found = sorted(name.rglob("*.codes")) if name.is_dir() else [name]
        if not found:
            raise ValueError(f"There are no .codes files in {name}.")
        paths += found
    return paths

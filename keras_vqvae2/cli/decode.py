import pathlib

from keras_vqvae2.cli.options import positive
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.codec import load_codes
from keras_vqvae2.visualization import save_image
from keras_vqvae2.vqvae2 import from_pretrained


def add_arguments(parser):
    parser.add_argument("codes", nargs="+", help=".codes files or folders")
    parser.add_argument(
        "-o", "--output", required=True, help="folder, or an image file"
    )
    parser.add_argument(
        "--levels", type=positive, help="decode from the first LEVELS maps only"
    )
    parser.add_argument(
        "--model", help="model, if not the one named in the file"
    )


def run(args):
    paths = _code_paths(args.codes)
    outputs = output_paths(paths, args.output, ".png")
    models = {}
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        codes, header = load_codes(path)
        name = args.model or header["model"]
        if name not in models:
            models[name] = from_pretrained(name)
        model = models[name]
        _check_model(model, name, codes, header, path)
        images = model.decode([level[None] for level in codes], args.levels)
        height, width = header["image_size"]
        if height > images.shape[1] or width > images.shape[2]:
            raise ValueError(
                f"{path} is damaged: it has too few codes for an image of "
                f"{width}x{height}."
            )
        save_image(output, images[0, :height, :width])
        print(f"[{i + 1}/{len(paths)}] {path} -> {output}, {width}x{height}")


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


def _check_model(model, name, codes, header, path):
    vqvae = model.vqvae
    if (header["num_embeddings"], len(codes)) != (
        vqvae.num_embeddings,
        vqvae.num_levels,
    ):
        raise ValueError(
            f"{path} has {len(codes)} maps of {header['num_embeddings']} "
            f"codes. {name} has {vqvae.num_levels} of {vqvae.num_embeddings}: "
            "choose the --model that encoded it."
        )

import os
import pathlib

from keras_vqvae2.codec import read_header
from keras_vqvae2.files import shown
from keras_vqvae2.hub import bundled_weights
from keras_vqvae2.vqvae2 import from_pretrained


def add_arguments(parser):
    parser.add_argument(
        "name", help="preset, folder, Hub repository, or a .codes file"
    )


def run(args):
    if os.path.exists(args.name) and not os.path.isdir(args.name):
        describe_file(args.name)
    else:
        describe_model(args)


def describe_file(path):
    """Prints what a code file says of itself."""
    header = read_header(path)
    size = os.path.getsize(path)
    height, width = header.image_size
    raw_bits = header.num_codes * (header.num_embeddings - 1).bit_length()
    maps = ", ".join(
        f"{rows}x{columns}" for rows, columns in header.code_shapes
    )
    print(f"code file: {shown(path)}")
    print(f"model: {header.model}")
    print(f"fingerprint: {header.fingerprint.hex() or 'none'}")
    print(f"method: {header.method}")
    print(f"image: {width}x{height}")
    print(f"codes: {maps}, of {header.num_embeddings} embeddings")
    share = f", {size / (raw_bits / 8):.1%} of raw codes" if raw_bits else ""
    print(f"bytes: {size}{share}")
    print(f"bits per pixel: {8 * size / (height * width):.3f}")


def describe_model(args):
    model = from_pretrained(args.name)
    vqvae = model.vqvae
    print(f"name: {model.name or shown(args.name)}")
    print(f"parameters: {vqvae.count_params()}")
    for name in (
        "strides",
        "hidden_dim",
        "residual_dim",
        "num_residual_blocks",
        "num_embeddings",
        "embedding_dim",
        "commitment_cost",
        "decay",
    ):
        print(f"{name}: {getattr(vqvae, name)}")
    shapes = ", ".join(
        f"{name} {height}x{width}"
        for name, (height, width) in zip(
            vqvae.level_names, vqvae.code_shapes(256, 256), strict=True
        )
    )
    print(f"codes of a 256x256 image: {shapes}")
    print(f"bits per pixel: {model.bits_per_pixel(256, 256):.3f}")
    if model.context is not None:
        sizes = ", ".join(
            f"{name} {value}"
            for name, value in vars(model.context.config).items()
        )
        print(f"context model of code files: {sizes}")
    for level in model.priors:
        prior = model.load_prior(level)
        height, width = prior.code_shapes[-1]
        print(
            f"prior of {level}: {height}x{width}, {prior.count_params()} "
            f"parameters, {prior.num_classes or 'no'} classes"
        )
    folder = bundled_weights().get(args.name, pathlib.Path(args.name))
    for name in ("README.md", "metrics.json"):
        if (folder / name).is_file():
            print(f"{name}: {shown(folder / name)}")

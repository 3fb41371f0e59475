import math
import os
import pathlib

from keras_vqvae2.cli.options import complete_model
from keras_vqvae2.codec import read_header
from keras_vqvae2.codec.code_model import load_context
from keras_vqvae2.codec.header import code_shapes
from keras_vqvae2.files import shown
from keras_vqvae2.hub import bundled_weights
from keras_vqvae2.hub.names import WEIGHTS
from keras_vqvae2.hub.names import prior_file
from keras_vqvae2.hub.store import find_snapshot
from keras_vqvae2.hub.weight_types import num_parameters
from keras_vqvae2.hub.weight_types import prior_types
from keras_vqvae2.hub.weight_types import vqvae_types
from keras_vqvae2.levels import level_names
from keras_vqvae2.weights import check_weights


def add_arguments(parser):
    parser.add_argument(
        "name", help="preset, folder, Hub repository, or a .codes file"
    ).completer = complete_model


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
    """Prints what a saved model's files say; the model is not built."""
    snapshot = find_snapshot(args.name)
    config = snapshot.config
    sizes = config.vqvae
    types = vqvae_types(sizes)
    check_weights(snapshot.path(WEIGHTS), types)
    print(f"name: {config.name}")
    print(f"revision: {config.revision}")
    if config.image_size is not None:
        print(f"trained on images of: {config.image_size}x{config.image_size}")
    if config.labels is not None:
        print(f"classes: {', '.join(config.labels)}")
    print(f"parameters: {num_parameters(types)}")
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
        value = getattr(sizes, name)
        print(f"{name}: {tuple(value) if name == 'strides' else value}")
    shapes = code_shapes((256, 256), sizes.strides)
    maps = ", ".join(
        f"{name} {height}x{width}"
        for name, (height, width) in zip(
            level_names(len(shapes)), shapes, strict=True
        )
    )
    print(f"codes of a 256x256 image: {maps}")
    bits = sum(map(math.prod, shapes)) * math.log2(sizes.num_embeddings)
    print(f"bits per pixel: {bits / 256**2:.3f}")
    if config.context is not None:
        load_context(snapshot)
        values = ", ".join(
            f"{name} {value}" for name, value in vars(config.context).items()
        )
        print(f"context model of code files: {values}")
    for level, prior in config.priors.items():
        types = prior_types(prior)
        check_weights(snapshot.path(prior_file(level)), types)
        height, width = prior.code_shapes[-1]
        print(
            f"prior of {level}: {height}x{width}, {num_parameters(types)} "
            f"parameters, {prior.num_classes or 'no'} classes"
        )
    folder = bundled_weights().get(args.name, pathlib.Path(args.name))
    for name in ("README.md", "metrics.json"):
        if (folder / name).is_file():
            print(f"{name}: {shown(folder / name)}")

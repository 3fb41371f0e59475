"""Options that several commands share."""

import argparse
import ast
import dataclasses
import importlib
import pathlib
import re

import keras_vqvae2
from keras_vqvae2.backend.distribution import STRATEGIES
from keras_vqvae2.codec.code_pool import num_cores
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.training_options import TrainingOptions

DEFAULT_MODEL = "vqvae2-imagenet256"
MODEL_WITH_PRIORS = "vqvae2-cifar10"


def flag(name):
    """`--num-heads` for `num_heads`."""
    return "--" + name.replace("_", "-")


def positive(text):
    """A positive integer, for `type=`."""
    value = int(text)
    if not 0 < value < 2**63:
        raise argparse.ArgumentTypeError(
            f"must be positive and below 2**63, not {value}"
        )
    return value


def add_numbers(parser, *rows):
    """Adds options `(name, type, default, help)`."""
    for name, kind, default, summary in rows:
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            help=f"{summary} (default: %(default)s)",
        )


def add_model(parser, default=DEFAULT_MODEL):
    """Adds `--model`."""
    parser.add_argument(
        "--model",
        default=default,
        help="preset, folder, or Hub repository (default: %(default)s)",
    ).completer = complete_model


def complete_model(prefix, **options):
    """What a shell may complete the name of a model to, see argcomplete."""
    completers = importlib.import_module("argcomplete.completers")
    return [*PRESETS, *completers.FilesCompleter()(prefix, **options)]


def add_overwrite(parser):
    """Adds `--overwrite`."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that exist"
    )


def add_sampling(parser):
    """Adds options of `VQVAE2.generate` that say how codes are drawn."""
    parser.add_argument(
        "--top-k", type=positive, help="draw from the TOP_K likeliest codes"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        help="draw from the likeliest codes of this total probability",
    )
    add_numbers(
        parser,
        ("temperature", float, 1.0, "below 1 for likelier images"),
        (
            "guidance-scale",
            float,
            1.0,
            "above 1 for images more typical of their class",
        ),
        ("seed", int, 0, "fixes the images"),
        ("batch-size", positive, 16, "images at a time"),
    )


def sampling_options(args):
    """Arguments of `VQVAE2.generate` by `add_sampling`."""
    names = ("top_k", "top_p", "temperature", "guidance_scale", "seed")
    return {name: getattr(args, name) for name in (*names, "batch_size")}


def label(text):
    """A class by its number, or by its name."""
    return int(text) if text.isdecimal() and text.isascii() else text


def add_editing(parser):
    """Adds what `inpaint` and `vary` share."""
    parser.add_argument("image", help="image file")
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="image file for the variants, side by side",
    )
    parser.add_argument(
        "--label",
        type=label,
        help="class of the image, by number or name (default: none)",
    )
    add_numbers(parser, ("num-variants", positive, 1, "images to make"))
    add_sampling(parser)
    add_overwrite(parser)
    add_model(parser, MODEL_WITH_PRIORS)


def editing_options(args):
    """Arguments of `VQVAE2.inpaint` and `vary` by `add_editing`."""
    return {
        "labels": None if args.label is None else [args.label],
        "num_variants": args.num_variants,
        "verbose": 1,
        **sampling_options(args),
    }


def add_data(parser):
    """Adds `--data` and what says how it is read."""
    parser.add_argument(
        "--data", required=True, help="folder of images, or tfds:NAME"
    )
    add_reading(parser)


def add_reading(parser):
    """Adds options of `image_dataset`."""
    parser.add_argument(
        "--resize", type=positive, help="resize the shorter side first"
    )
    parser.add_argument(
        "--data-dir", help="where TFDS keeps its data, for tfds:NAME"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="let TFDS download and prepare a missing data set",
    )


def described(file, name):
    """Help texts by argument name, from the Args of a class's docstring.

    The class is not imported: that takes Keras and seconds.

    Args:
        file: Path of its file in the package.
        name: Name of the class.
    """
    source = pathlib.Path(keras_vqvae2.__file__).parent / file
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            text = ast.get_docstring(node).partition("\nArgs:\n")[2]
    text = text.partition("\n\n")[0] + "\n"
    texts = {}
    for name, description in re.findall(
        r"^    (\w+): ((?:.*\n?)(?:        .*\n?)*)", text, re.MULTILINE
    ):
        sentence = " ".join(description.replace("`", "").split())
        sentence = sentence.rstrip(".").replace("%", "%%")
        texts[name] = sentence[0].lower() + sentence[1:]
    return texts


def add_training_options(parser):
    """Adds the options of `TrainingOptions`, `--strategy` and `--dtype`."""
    parser.add_argument(
        "--output", required=True, help="folder for the results"
    )
    texts = described("training_options.py", "TrainingOptions")
    for field in dataclasses.fields(TrainingOptions):
        name, text = field.name, texts[field.name]
        if name == "verbose":
            continue
        if field.type is bool:
            parser.add_argument(flag(name), action="store_true", help=text)
            continue
        if field.default is not None:
            text += " (default: %(default)s)"
        parser.add_argument(
            flag(name),
            type=_type(field),
            default=field.default,
            choices=field.metadata.get("choices"),
            help=text,
        )
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="none",
        help="devices to train on (default: %(default)s, a single one)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="dtype policy (default: %(default)s)",
    )


def _type(field):
    """Function for `type=`: the value of a text, in the field's bounds."""
    kind = {int: int, int | None: int, str: str}.get(field.type, float)

    def value(text):
        value = kind(text)
        if not field.metadata["fits"](value):
            raise argparse.ArgumentTypeError(
                f"must be {field.metadata['expected']}, not {text}"
            )
        return value

    value.__name__ = kind.__name__  # For "invalid int value".
    return value


def training_options(args, verbose):
    """`TrainingOptions` of parsed arguments."""
    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    return TrainingOptions(
        **{name: getattr(args, name) for name in names - {"verbose"}},
        verbose=verbose,
    )


def workers(paths):
    """Processes for some files: starting one takes as long as four files."""
    return min(num_cores(), max(1, len(paths) // 8))

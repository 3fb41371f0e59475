"""Runs a command: argument parsing, one line per error, exit codes."""

import argparse
import importlib
import importlib.metadata
import re
import sys

# Each command is a module here, loaded only if it is asked for.
COMMANDS = {
    "list": "List the presets and where their weights are.",
    "info": "Show a model's sizes, metrics and origin.",
    "reconstruct": "Encode and decode images; save them beside the originals.",
    "import": "Import a PyTorch checkpoint of rosinality/vq-vae-2-pytorch.",
    "encode": "Encode images to small files of codes.",
    "decode": "Decode files of codes to images.",
    "train": "Train stage 1 on your own images.",
    "extract-codes": "Write the codes of a data set.",
    "train-context": "Train the context model that makes code files small.",
    "train-prior": "Train the prior of one level of codes.",
    "generate": "Generate new images with priors.",
    "evaluate": "Measure a model: reconstruction, likelihood, samples.",
    "push": "Publish all of weights/ on the Hugging Face Hub.",
}


def main(argv=None):
    """Runs the command line.

    Args:
        argv: List of arguments, `sys.argv[1:]` if None.

    Returns:
        Exit code: 0, or 2 after one line on stderr that says what was wrong,
        or 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    command = argv[0] if argv else None
    flags = set()
    try:
        parser = _parser(command)
        args = parser.parse_args(argv)
        flags = set(vars(args))
        args.run(args)
    except (ImportError, OSError, TypeError, ValueError) as error:
        # Some errors end with a hint for callers from Python.
        error = getattr(error, "without_hint", error)
        message = " ".join(str(error).split())
        print(
            f"keras-vqvae2: error: {in_flags(message, flags)}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("keras-vqvae2: interrupted", file=sys.stderr)
        return 130
    return 0


def in_flags(message, names):
    """A message in which Python arguments are named as on the command line.

    Args:
        message: Text with arguments in backquotes, perhaps with a value.
            Others are left alone: folders may be named "seed=1".
        names: The command's arguments, as attributes of its namespace.

    Returns:
        The text with `--name` and `--name value`.
    """

    def as_flag(match):
        name, value = match[1], match[2]
        if name not in names:
            return match[0]
        flag = f"--{name.replace('_', '-')}"
        return flag if value in (None, "True") else f"{flag} {value}"

    return re.sub(r"`(\w+)(?:=([\w.]+))?`", as_flag, message)


def _parser(command):
    """Parser of all commands, with the arguments of the one that is run."""
    parser = argparse.ArgumentParser(
        prog="keras-vqvae2",
        description="Images to hierarchical codes and back, with VQ-VAE-2.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {_version()}"
    )
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )
    for name, summary in COMMANDS.items():
        sub = commands.add_parser(name, help=summary, description=summary)
        if name == command:
            module = importlib.import_module(
                f"keras_vqvae2.cli.{name.replace('-', '_')}"
            )
            module.add_arguments(sub)
            sub.set_defaults(run=module.run)
    return parser


def _version():
    try:
        return importlib.metadata.version("keras-vqvae2")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"

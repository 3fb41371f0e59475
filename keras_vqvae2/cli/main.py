"""Runs a command: argument parsing, one line per error, exit codes."""

import argparse
import contextlib
import importlib
import importlib.metadata
import logging
import os
import re
import sys
import warnings

from keras_vqvae2 import interrupts
from keras_vqvae2.files import shown

_MAX_LINE = 2000

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
    "inpaint": "Draw what lies under a mask anew, with priors.",
    "vary": "Keep the coarsest codes of an image and draw the others anew.",
    "surprise": "Show where images are unlikely under the priors; rank them.",
    "evaluate": "Measure a model: reconstruction, likelihood, samples.",
    "demo": "Show in a browser what models can do.",
    "push": "Publish a model, or all of weights/, on the Hugging Face Hub.",
}
# None of them imports it for its options: Keras and its backend take seconds.
WITHOUT_KERAS = ("list", "info", "push")


def main(argv=None, start=None):
    """Runs the command line.

    Args:
        argv: List of arguments, `sys.argv[1:]` if None.
        start: Function that is called before a command that needs Keras, or
            None.

    Returns:
        Exit code: 0, or 2 after one line on stderr that says what was wrong,
        or 130 after Ctrl-C and 143 after SIGTERM, with such a line as well.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    completing = "_ARGCOMPLETE" in os.environ  # a shell asks, not a person
    if completing:
        argv = os.environ.get("COMP_LINE", "").split()[1:]
    command = argv[0] if argv else None
    flags = set()
    try:
        with (
            interrupts.terminated(),
            warnings.catch_warnings(),
            _log_on_stderr(),
        ):
            parser = _parser(command)
            if completing:
                importlib.import_module("argcomplete").autocomplete(parser)
            args = parser.parse_args(argv)
            flags = set(vars(args))
            warnings.showwarning = _show_warning
            if start is not None and command not in WITHOUT_KERAS:
                start()
            args.run(args)
            sys.stdout.flush()
    except (
        ImportError,
        MemoryError,
        OSError,
        OverflowError,
        TypeError,
        ValueError,
        *_graph_errors(),
    ) as error:
        message = in_flags(_one_line(_text(error)), flags)
        print(f"keras-vqvae2: error: {message}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, interrupts.Terminated) as stop:
        message = in_flags(str(stop) or "interrupted", flags)
        print(f"keras-vqvae2: {message}", file=sys.stderr)
        return getattr(stop, "code", 130)
    return 0


@contextlib.contextmanager
def _log_on_stderr():
    """Shows how far the work on a large image is, and what is waited for."""
    logger = logging.getLogger("keras_vqvae2")
    handler, level = logging.StreamHandler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _graph_errors():
    """Class of the errors of TensorFlow's graphs, if there are any."""
    tensorflow = sys.modules.get("tensorflow")
    return () if tensorflow is None else (tensorflow.errors.OpError,)


def _text(error):
    if isinstance(error, BrokenPipeError):
        return "standard output was closed before the end."
    if isinstance(error, MemoryError):
        return f"There is not enough memory. {error}"
    if isinstance(error, _graph_errors()):
        # The message, then where in the graph.
        text = re.sub(r"\{\{.*?\}\}", "", str(error)).strip()
        return text.partition("\n")[0].removeprefix("assertion failed: ")
    # Some errors end with a hint for callers from Python.
    return str(getattr(error, "without_hint", error))


def _one_line(text):
    """Text of others, who may have put anything into it."""
    text = shown(" ".join(text.split()))
    if len(text) > _MAX_LINE:
        half = _MAX_LINE // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return text


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"keras-vqvae2: warning: {_one_line(str(message))}", file=sys.stderr)


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


class _Parser(argparse.ArgumentParser):
    """Its errors take one line, as all others."""

    def error(self, message):
        message = _one_line(message)
        self.exit(
            2, f"keras-vqvae2: error: {message}; see {self.prog} --help\n"
        )


def _parser(command):
    """Parser of all commands, with the arguments of the one that is run."""
    parser = _Parser(
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

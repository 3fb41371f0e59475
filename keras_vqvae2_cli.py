"""Starts the command `keras-vqvae2`.

Most commands import Keras, and with it a backend that logs several lines as it
starts. A command's output should be the command's own.
"""

import contextlib
import os
import signal
import sys


def main():
    """Runs `keras_vqvae2.cli.main`; returns its exit code."""
    _open_streams()
    with _ended_by_signals():
        from keras_vqvae2 import cli
    try:
        return cli.main(start=_start_backend)
    finally:
        _flush()


def _open_streams():
    """Opens standard streams that the caller closed, as the null device."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
        # Files may have names that the terminal cannot show.
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _flush():
    try:
        sys.stdout.flush()
    except OSError:
        # Closed by the reader, for example. Python would say so at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _ended_by_signals():
    """Ctrl-C and SIGTERM end the process, with one line.

    An exception would pass through imports of libraries, some of which turn
    it into another or drop it; and there is nothing to tidy up yet.
    """
    stderr = os.dup(2)  # The backend starts without.

    def end(number, frame):
        name = "interrupted" if number == signal.SIGINT else "terminated"
        os.write(stderr, f"keras-vqvae2: {name}\n".encode())
        os._exit(128 + number)

    handlers = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) not in (signal.SIG_IGN, None)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(stderr)


@contextlib.contextmanager
def _without_stderr():
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


def _start_backend():
    """Imports Keras without its backend's log.

    Raises:
        ImportError: If there is no such backend.
        ValueError: If Keras knows none of its name.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _ended_by_signals(), _without_stderr():
        import keras

        # Several workers must find each other before the backend starts.
        if not any("multiworker" in argument for argument in sys.argv):
            keras.ops.add(1, 1)


if __name__ == "__main__":
    sys.exit(main())

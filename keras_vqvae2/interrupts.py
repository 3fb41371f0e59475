"""Ctrl-C and SIGTERM: as exceptions, or held back until a step is done."""

import contextlib
import os
import signal
import sys
import threading


class Terminated(SystemExit):
    """SIGTERM, as `KeyboardInterrupt` is Ctrl-C: ends a program with code 143.

    Args:
        message: What was stopped, and how to go on.
    """

    def __init__(self, message="terminated"):
        super().__init__(128 + signal.SIGTERM)
        self.message = message

    def __str__(self):
        return self.message


def stop(number, message=None):
    """Raises `Terminated` for SIGTERM, else `KeyboardInterrupt`."""
    if number == signal.SIGTERM:
        raise Terminated(message or "terminated")
    raise KeyboardInterrupt(message or "interrupted")


@contextlib.contextmanager
def handled(handler, numbers=(signal.SIGINT, signal.SIGTERM)):
    """Gives signals a handler inside the block.

    Those that are ignored, as Ctrl-C is by a job in the background, stay so.
    Python handles signals in its main thread: elsewhere this does nothing.

    Args:
        handler: Function of the signal's number and a frame.
        numbers: Numbers of the signals.
    """
    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in numbers:
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, handler)
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def terminated():
    """Scope in which SIGTERM raises `Terminated`, so that files are tidied."""
    return handled(lambda number, frame: stop(number), (signal.SIGTERM,))


def run_program(function):
    """Runs a program's `main`; Ctrl-C and SIGTERM end it with one line.

    Args:
        function: Function without arguments.

    Raises:
        SystemExit: After Ctrl-C, with code 130, or SIGTERM, with 143.
    """
    try:
        with terminated():
            function()
    except (KeyboardInterrupt, Terminated) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(getattr(error, "code", 128 + signal.SIGINT))


class Held:
    """Holds Ctrl-C and SIGTERM back until the work of a moment is done.

    The first signal is kept in `number`; a second one stops at once.

    Args:
        notice: What the first signal writes on stderr.
    """

    def __init__(self, notice):
        self.number = None
        self._notice = notice

    def scope(self):
        """Context manager in which signals are held back."""
        return handled(self._hold)

    def _hold(self, number, frame):
        if self.number is not None:
            stop(number)
        self.number = number
        # Not by `print`, which may have been interrupted itself.
        with contextlib.suppress(OSError):
            os.write(2, f"{self._notice}\n".encode())

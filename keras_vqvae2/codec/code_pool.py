"""Other processes for the codec."""

import collections
import concurrent.futures
import concurrent.futures.process
import contextlib
import multiprocessing
import signal

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.cores import num_cores

_model = None


class CodePool:
    """Runs functions of a `CodeModel`, in other processes if told so.

    NumPy's small operations hold Python's lock, so that threads would not
    help. The processes import neither Keras nor its backend.

    Args:
        model: `CodeModel`.
        num_workers: Number of processes; 1 for none but this one, None for as
            many as there are cores. As always with processes, a script that
            starts some needs `if __name__ == "__main__":`.

    Raises:
        ValueError: If `num_workers` is not a positive integer or None.
    """

    def __init__(self, model, num_workers=1):
        self.model = model
        if num_workers is None:
            num_workers = num_cores()
        self.num_workers = check_integer("num_workers", num_workers)
        self._executor = None
        if self.num_workers > 1:
            self._executor = concurrent.futures.ProcessPoolExecutor(
                self.num_workers,
                multiprocessing.get_context("spawn"),
                _set_model,
                (model,),
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, function, arguments):
        """Results of `function(*args, model=model)` by `args`, in order.

        Args:
            function: Function at the top level of a module, or a partial of
                one.
            arguments: Iterable of tuples; it is read only a little ahead.
        """
        if self._executor is None:
            for args in arguments:
                yield function(*args, model=self.model)
            return
        futures = collections.deque()
        try:
            for args in arguments:
                with _without_interrupts():
                    futures.append(self._executor.submit(_call, function, args))
                if len(futures) > 2 * self.num_workers:
                    yield futures.popleft().result()
            while futures:
                yield futures.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            raise OSError(
                "A process of the codec has died. Either memory ran out, or "
                "the script that started it has no `if __name__ == "
                '"__main__":`. `num_workers=1` does without processes.'
            ) from error


@contextlib.contextmanager
def _without_interrupts():
    """Ctrl-C is for the process that waits, not for those it starts."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _set_model(model):
    global _model
    _model = model
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(function, args):
    return function(*args, model=_model)

import collections
import concurrent.futures
import multiprocessing
import os
import signal

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
    """

    def __init__(self, model, num_workers=1):
        self.model = model
        self.num_workers = num_workers or num_cores()
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
        """Results of `function(model, *args)` for each `args`, in order.

        Args:
            function: Function at the top level of a module.
            arguments: Iterable of tuples; it is read only a little ahead.
        """
        if self._executor is None:
            for args in arguments:
                yield function(self.model, *args)
            return
        futures = collections.deque()
        for args in arguments:
            futures.append(self._executor.submit(_call, function, args))
            if len(futures) > 2 * self.num_workers:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


def num_cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _set_model(model):
    global _model
    _model = model
    # Ctrl-C is for the process that waits for the results.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _call(function, args):
    return function(_model, *args)

"""A limit of the threads that NumPy's matrix products take."""

import contextlib
import functools
import threading

import threadpoolctl

_lock = threading.Lock()
_users = 0
_limits = None


@functools.cache
def _controller():
    return threadpoolctl.ThreadpoolController()


@contextlib.contextmanager
def one_blas_thread():
    """One thread for all of the process, until the last who wanted it leaves.

    Limits that overlap in several threads would otherwise restore each other.
    """
    global _users, _limits
    with _lock:
        if not _users:
            _limits = _controller().limit(limits=1, user_api="blas")
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _limits.restore_original_limits()

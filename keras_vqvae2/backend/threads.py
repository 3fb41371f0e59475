"""Threads for functions of many small operations."""

import contextlib

import keras

# Multiplications. Below, one operation of a network takes microseconds, and
# its threads longer to meet: on a machine with other work some 15 times.
_FEW = 2**26


@contextlib.contextmanager
def threads_for(multiplications):
    """One thread for small networks on PyTorch; others keep what they have.

    PyTorch's threads meet after every operation, however small; those of
    TensorFlow and JAX do not.

    Args:
        multiplications: Number of multiplications in a pass of the network.
    """
    if keras.backend.backend() != "torch" or multiplications >= _FEW:
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

"""Threads for functions of many small operations."""

import contextlib

import keras

from keras_vqvae2.cores import num_cores

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


def on_cpu_by_xla():
    """Whether TensorFlow or JAX computes, on this machine's CPU alone."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        # Programs over several devices must start in one order.
        return jax.default_backend() == "cpu" and jax.device_count() == 1
    if backend == "tensorflow":
        import tensorflow as tf

        return len(tf.config.list_logical_devices()) == 1
    return False


def num_batch_parts(batch_size):
    """Parts of a batch that many small operations are best computed in.

    XLA runs them on one core of a CPU. So each core takes a part, in a thread
    of its own.

    Args:
        batch_size: Number of images.

    Returns:
        Number of parts, at most the batch size: none of equal parts is empty.
    """
    if not on_cpu_by_xla():
        return 1
    each = -(-batch_size // _num_threads())
    return -(-batch_size // each)


def _num_threads():
    threads = num_cores()
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        wanted = tf.config.threading.get_intra_op_parallelism_threads()
        threads = min(threads, wanted or threads)
    return threads

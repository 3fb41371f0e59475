"""Rematerialisation of layers that drop out."""

import contextlib
import itertools

import keras
from keras import ops


def rematerialize(function, layers=(), wanted=True):
    """`function`, whose activations are not kept but computed again.

    `keras.remat` alone would draw other dropout masks in the backward pass on
    TensorFlow, and on JAX lead random state out of a trace. So the seeds are
    drawn here, before, and are the same in both passes.

    Args:
        function: Function of tensors.
        layers: The layers that it calls and that drop out, each once.
        wanted: Without it, `function` is returned as it is.

    Returns:
        Function with the same results and gradients.
    """
    if not wanted:
        return function
    # PyTorch keeps its own random state over both passes.
    generators = [
        sublayer.seed_generator
        for layer in layers
        for sublayer in layer._flatten_layers()
        if getattr(sublayer, "seed_generator", None) is not None
    ]

    def outer(*tensors):
        seeds = [generator.next() for generator in generators]

        def inner(*tensors):
            with given_seeds(generators, seeds):
                return function(*tensors)

        return keras.remat(inner)(*in_order(*tensors))

    return outer


def in_order(*tensors):
    """The tensors, none before all are there; so are their gradients.

    What depends on one of them alone, as gates do on a coarser map, would run
    for all layers ahead of time, and gradients with many shares would wait for
    all of them: both keep everything in memory.
    """
    if keras.backend.backend() == "jax":
        import jax

        return jax.lax.optimization_barrier(tensors)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.control_dependencies(tensors):
            return tuple(tf.identity(tensor) for tensor in tensors)
    return tensors  # PyTorch runs everything in the order of the code


@contextlib.contextmanager
def given_seeds(generators, seeds):
    """Inside, each generator's seeds follow from the given one alone."""
    patched = [generator.__dict__.get("next") for generator in generators]
    for generator, seed in zip(generators, seeds, strict=True):
        generator.next = _seeds_from(seed)
    try:
        yield
    finally:
        for generator, before in zip(generators, patched, strict=True):
            if before is None:
                del generator.next
            else:  # rematerialised inside of what is rematerialised
                generator.next = before


def _seeds_from(seed):
    """Function whose first result is `seed`, and each later one another."""
    numbers = itertools.count()

    def next_seed(ordered=True):
        step = ops.convert_to_tensor([next(numbers), 0], dtype=seed.dtype)
        return ops.add(seed, step)

    return next_seed

"""Recomputed activations, with the same dropout in both passes."""

import contextlib
import itertools

import keras
from keras import ops


def remat(function, layers=(), rematerialize=True):
    """Recomputes a function's activations for the gradients.

    `keras.remat` alone would draw other dropout masks in the backward pass on
    TensorFlow, and leak random state out of a trace on JAX. So the seeds are
    drawn before, outside, and both passes use the same.

    Args:
        function: Function of tensors.
        layers: The layers with dropout that it calls, each once.
        rematerialize: If false, `function` is returned as it is, and its
            activations are kept.

    Returns:
        Function with the same results and gradients.
    """
    if not rematerialize:
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
    """The same tensors, available only once all are; also their gradients.

    What depends on one of them alone, as gates do on a coarser map, would run
    ahead of time for all layers, and a gradient that many layers add to would
    wait for all of them: either way everything would stay in memory.
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
    """Inside, the given seed alone decides a generator's seeds."""
    patched = [generator.__dict__.get("next") for generator in generators]
    for generator, seed in zip(generators, seeds, strict=True):
        generator.next = _seeds_from(seed)
    try:
        yield
    finally:
        for generator, before in zip(generators, patched, strict=True):
            if before is None:
                del generator.next
            else:  # nested
                generator.next = before


def _seeds_from(seed):
    """Function whose first result is `seed`, and each later one another."""
    numbers = itertools.count()

    def next_seed(ordered=True):
        step = ops.convert_to_tensor([next(numbers), 0], dtype=seed.dtype)
        return ops.add(seed, step)

    return next_seed

"""Rematerialisation of layers that drop out."""

import contextlib

import keras


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

        return keras.remat(inner)(*tensors)

    return outer


@contextlib.contextmanager
def given_seeds(generators, seeds):
    """Inside, each generator's next seed is the given one, without end."""
    for generator, seed in zip(generators, seeds, strict=True):
        generator.next = lambda ordered=True, seed=seed: seed
    try:
        yield
    finally:
        for generator in generators:
            del generator.next

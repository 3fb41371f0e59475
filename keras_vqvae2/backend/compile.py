"""Compiled inference functions of a model on every backend."""

import functools

import keras


def compile_function(model, function, many_small=False):
    """`function` of tensors, compiled for inference with `model`'s weights.

    Args:
        model: Built Keras model whose weights `function` reads.
        function: Function of tensors that changes no weight.
        many_small: Whether it consists of many small operations, so that on
            TensorFlow XLA is worth its compilation for each shape. Large
            convolutions are slower in it on a CPU.

    Returns:
        Function of arrays or tensors; its results are backend tensors.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        # TensorFlow counts traces by code, over all models, and would warn of
        # the fifth; a partial is counted by itself.
        function = functools.partial(function)
        if many_small:
            return tf.function(function, jit_compile=True)
        return tf.function(function, reduce_retracing=True)
    if backend == "jax":
        import jax

        @jax.jit
        def stateless(values, *args):
            mapping = list(zip(model.weights, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping):
                return function(*args)

        return lambda *args: stateless(
            [weight.value for weight in model.weights], *args
        )

    import torch

    def without_gradient(*args):
        with torch.inference_mode():
            return function(*args)

    return without_gradient

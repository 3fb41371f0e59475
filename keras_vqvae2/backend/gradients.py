"""Gradients of a model's inputs, compiled, on every backend."""

import keras
from keras import ops

from keras_vqvae2.backend.compile import compile_function


def compile_gradients(model, function):
    """`function` with its gradients, compiled with `model`'s weights.

    Args:
        model: Built Keras model whose weights `function` reads.
        function: Function of tensors that returns `(batch,)` values, each of
            one image's part of the first tensor alone.

    Returns:
        Function of arrays or tensors, as `function`'s: `(values, gradients)`,
        these in the shape of the first.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def with_gradients(x, *args):
            with tf.GradientTape() as tape:
                tape.watch(x)
                values = function(x, *args)
            return values, tape.gradient(values, x)

        return compile_function(model, with_gradients)
    if backend == "jax":
        import jax

        def with_gradients(x, *args):
            values, pull = jax.vjp(lambda x: function(x, *args), x)
            return values, pull(ops.ones_like(values))[0]

        return compile_function(model, with_gradients)

    import torch

    def with_gradients(x, *args):
        # Copies: what comes from inference mode cannot be part of a graph.
        x, *args = (ops.convert_to_tensor(t).clone() for t in (x, *args))
        with torch.enable_grad():
            values = function(x.requires_grad_(True), *args)
            (gradients,) = torch.autograd.grad(values.sum(), x)
        return values.detach(), gradients

    return with_gradients

import keras
import numpy as np


def gradient(function, x):
    """NumPy gradient of a scalar function of one array, on any backend."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = function(x)
        return np.asarray(tape.gradient(y, x))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(x))
    x = keras.ops.convert_to_tensor(x).requires_grad_()
    function(x).backward()
    return keras.ops.convert_to_numpy(x.grad)

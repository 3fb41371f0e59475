"""Dense layers as products of matrices whose weights are cast once."""

from keras import ops


def dense_weights(layer):
    """Kernel matrix and bias of a layer, in its compute dtype.

    Args:
        layer: Built Dense layer, or convolution that sees one row: its taps
            are the rows of the matrix.
    """
    kernel, bias = (
        ops.cast(ops.convert_to_tensor(weight), layer.compute_dtype)
        for weight in (layer.kernel, layer.bias)
    )
    return ops.reshape(kernel, (-1, kernel.shape[-1])), bias


def apply_dense(weights, x):
    """What a layer of `dense_weights` makes of `x`, `(..., channels)`."""
    kernel, bias = weights
    return ops.matmul(x, kernel) + bias

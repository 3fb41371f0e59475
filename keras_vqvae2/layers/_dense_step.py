"""Dense layers as products of matrices whose weights are cast once."""

from keras import ops

from keras_vqvae2.backend.threads import on_cpu_by_xla

# Rows of a product that take XLA longer together than one after the other.
_FEW_ROWS = 3


def dense_weights(layer):
    """Kernel matrix and bias of a layer, in its compute dtype.

    Args:
        layer: Built Dense layer, or convolution that sees one row: its taps
            are the rows of the matrix. Without a bias that is None.
    """
    kernel, bias = (
        weight
        if weight is None
        else ops.cast(ops.convert_to_tensor(weight), layer.compute_dtype)
        for weight in (layer.kernel, layer.bias)
    )
    return ops.reshape(kernel, (-1, kernel.shape[-1])), bias


def apply_dense(weights, x):
    """What a layer of `dense_weights` makes of `x`, `(..., channels)`."""
    kernel, bias = weights
    x = product(x, kernel)
    return x if bias is None else x + bias


def convolve_row(layer, x):
    """A convolution whose output is one row, as a product of matrices.

    On a CPU TensorFlow rearranges the kernel for every convolution, which
    takes up to twice the time of the product that one row is.

    Args:
        layer: Built convolution without padding and strides.
        x: Tensor `(batch, rows, columns, channels)`, of as many rows as the
            kernel has.

    Returns:
        Tensor `(batch, 1, columns - kernel columns + 1, filters)`.
    """
    rows, columns, channels, filters = layer.kernel.shape
    width = x.shape[2] - columns + 1
    taps = [
        x[:, row : row + 1, column : column + width]
        for row in range(rows)
        for column in range(columns)
    ]
    x = ops.concatenate(taps, axis=-1)
    # Of two axes: TensorFlow would multiply image by image.
    x = ops.reshape(x, (-1, rows * columns * channels))
    x = apply_dense(dense_weights(layer), x)
    return ops.reshape(x, (-1, 1, width, filters))


def row_by_row(num_rows):
    """Whether `product` multiplies single rows: a static number of them."""
    if num_rows is None or not 1 < num_rows <= _FEW_ROWS:
        return num_rows == 1
    return on_cpu_by_xla()


def product(x, kernel):
    """`x @ kernel` for `x`, `(..., channels)`, of few rows.

    On a CPU, XLA rearranges the whole kernel for a product of matrices, and
    not for that of a vector: two rows together took 3.6 times as long as one.
    """
    rows = x.shape[0]
    if len(x.shape) > 2 or rows == 1 or not row_by_row(rows):
        return ops.matmul(x, kernel)
    return ops.concatenate(
        [ops.matmul(x[row : row + 1], kernel) for row in range(rows)]
    )

"""Transposed convolution to few channels, as a convolution."""

import keras
import numpy as np
from keras import ops

# Output 2m is reached by the inputs m - 1, m (, m + 1) through the kernel's
# rows 3, 1 (, none); output 2m + 1 by (m - 1,) m, m + 1 through (none,) 2, 0.
_ROWS = np.array([3, 1, 4, 4, 2, 0])  # row 4: zeros


class SubpixelConv2DTranspose(keras.layers.Conv2DTranspose):
    """`Conv2DTranspose` with kernel size 4 and stride 2, as a convolution.

    A 3x3 convolution computes the four pixels of each 2x2 block as channels.
    The sums are the same, but for RGB it has 12 output channels instead of 3,
    which takes 0.6 of the time on a CPU.
    """

    def __init__(self, filters, **kwargs):
        super().__init__(
            filters,
            4,
            strides=2,
            padding="same",
            data_format="channels_last",
            **kwargs,
        )

    def call(self, inputs):
        filters, channels = self.kernel.shape[2:]
        kernel = ops.pad(self.kernel, [[0, 1], [0, 1], [0, 0], [0, 0]])
        kernel = ops.take(ops.take(kernel, _ROWS, axis=0), _ROWS, axis=1)
        kernel = ops.reshape(kernel, (2, 3, 2, 3, filters, channels))
        kernel = ops.transpose(kernel, (1, 3, 5, 0, 2, 4))
        kernel = ops.reshape(kernel, (3, 3, channels, 4 * filters))
        x = ops.conv(
            inputs, kernel, padding="same", data_format="channels_last"
        )
        batch, height, width, _ = ops.shape(inputs)
        x = ops.reshape(x, (batch, height, width, 2, 2, filters))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        x = ops.reshape(x, (batch, 2 * height, 2 * width, filters))
        return self.activation(x + self.bias)

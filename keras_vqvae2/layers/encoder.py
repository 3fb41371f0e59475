import math

import keras

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.layers.residual_stack import ResidualStack


def num_halvings(stride):
    """log2 of a stride; raises ValueError unless it is 2, 4, 8, ..."""
    if not isinstance(stride, int) or stride < 2 or stride & (stride - 1):
        raise ValueError(
            f"A stride must be a power of two, 2 or more. Received: {stride!r}"
        )
    return stride.bit_length() - 1


@keras.saving.register_keras_serializable("keras_vqvae2")
class Encoder(keras.layers.Layer):
    """Strided convolutions to a feature map, then a `ResidualStack`.

    With `stride=4`, an input of shape `(16, 256, 256, 3)` gives features of
    shape `(16, 64, 64, 128)`. Each halving is a 4x4 convolution of stride 2,
    the first to half the channels; a 3x3 convolution follows.

    Args:
        stride: Downsampling factor, a power of two.
        hidden_dim: Channels of the features ("hidden units"), even.
        residual_dim: Channels inside the residual blocks.
        num_residual_blocks: Number of residual blocks.
        skip_relu: As for `ResidualStack`.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Float tensor `(batch, height, width, channels)`, height and
            width multiples of `stride`.

    Returns:
        Tensor `(batch, height / stride, width / stride, hidden_dim)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    encoder = keras_vqvae2.layers.Encoder(stride=4)
    assert encoder(keras.ops.ones((1, 64, 64, 3))).shape == (1, 16, 16, 128)
    ```
    """

    def __init__(
        self,
        stride=4,
        hidden_dim=128,
        residual_dim=64,
        num_residual_blocks=2,
        skip_relu=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.stride = stride
        self.hidden_dim = check_integer("hidden_dim", hidden_dim, even=True)
        self.residual_dim = residual_dim
        self.num_residual_blocks = num_residual_blocks
        self.skip_relu = skip_relu

        shared = {
            "padding": "same",
            "data_format": "channels_last",
            # Keras's default halves the variance at each ReLU: the features
            # of the top level would start a thousand times too small, and
            # its codebook would never come to be used.
            "kernel_initializer": "he_normal",
            "dtype": self.dtype_policy,
        }
        self.convs = [
            keras.layers.Conv2D(
                hidden_dim if i else hidden_dim // 2,
                4,
                strides=2,
                activation="relu",
                name=f"downsample_{i}",
                **shared,
            )
            for i in range(num_halvings(stride))
        ]
        self.convs.append(
            keras.layers.Conv2D(hidden_dim, 3, name="conv", **shared)
        )
        self.residual_stack = ResidualStack(
            num_residual_blocks,
            residual_dim,
            skip_relu,
            dtype=self.dtype_policy,
            name="residual_stack",
        )

    def build(self, input_shape):
        shape = input_shape
        for conv in self.convs:
            conv.build(shape)
            shape = conv.compute_output_shape(shape)
        self.residual_stack.build(shape)

    def call(self, inputs):
        x = inputs
        for conv in self.convs:
            x = conv(x)
        return self.residual_stack(x)

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (
            size and math.ceil(size / self.stride) for size in (height, width)
        )
        return batch, height, width, self.hidden_dim

    def get_config(self):
        return {
            **super().get_config(),
            "stride": self.stride,
            "hidden_dim": self.hidden_dim,
            "residual_dim": self.residual_dim,
            "num_residual_blocks": self.num_residual_blocks,
            "skip_relu": self.skip_relu,
        }

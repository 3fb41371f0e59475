import keras

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.layers._subpixel import SubpixelConv2DTranspose
from keras_vqvae2.layers.encoder import num_halvings
from keras_vqvae2.layers.residual_stack import ResidualStack


def _upsample(filters, **kwargs):
    # To the channels of an image; to many it would be 2.25 times the work.
    if filters <= 4:
        return SubpixelConv2DTranspose(filters, **kwargs)
    return keras.layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        data_format="channels_last",
        **kwargs,
    )


@keras.saving.register_keras_serializable("keras_vqvae2")
class Decoder(keras.layers.Layer):
    """A `ResidualStack`, then transposed convolutions to a larger map.

    With `stride=4` and `output_dim=3`, quantized maps of shape
    `(16, 64, 64, 128)` give images of shape `(16, 256, 256, 3)`. A 3x3
    convolution comes first; each doubling is a transposed 4x4 convolution of
    stride 2, the last but one to half the channels.

    Args:
        output_dim: Channels of the output.
        stride: Upsampling factor, a power of two.
        hidden_dim: Channels inside ("hidden units"), even.
        residual_dim: Channels inside the residual blocks.
        num_residual_blocks: Number of residual blocks.
        skip_relu: As for `ResidualStack`.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Float tensor `(batch, height, width, channels)`.

    Returns:
        Tensor `(batch, height * stride, width * stride, output_dim)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    decoder = keras_vqvae2.layers.Decoder(output_dim=3, stride=4)
    assert decoder(keras.ops.ones((1, 16, 16, 128))).shape == (1, 64, 64, 3)
    ```
    """

    def __init__(
        self,
        output_dim,
        stride=4,
        hidden_dim=128,
        residual_dim=64,
        num_residual_blocks=2,
        skip_relu=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.output_dim = check_integer("output_dim", output_dim)
        self.stride = stride
        self.hidden_dim = check_integer("hidden_dim", hidden_dim, even=True)
        self.residual_dim = residual_dim
        self.num_residual_blocks = num_residual_blocks
        self.skip_relu = skip_relu

        self.conv = keras.layers.Conv2D(
            hidden_dim,
            3,
            padding="same",
            data_format="channels_last",
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="conv",
        )
        self.residual_stack = ResidualStack(
            num_residual_blocks,
            residual_dim,
            skip_relu,
            dtype=self.dtype_policy,
            name="residual_stack",
        )
        doublings = num_halvings(stride)
        dims = [hidden_dim] * (doublings - 2) + [hidden_dim // 2, output_dim]
        dims = dims[-doublings:]
        self.upsamples = [
            _upsample(
                dim,
                activation="relu" if i < doublings - 1 else None,
                name=f"upsample_{i}",
                dtype=self.dtype_policy,
            )
            for i, dim in enumerate(dims)
        ]

    def build(self, input_shape):
        self.conv.build(input_shape)
        shape = self.conv.compute_output_shape(input_shape)
        self.residual_stack.build(shape)
        for upsample in self.upsamples:
            upsample.build(shape)
            shape = upsample.compute_output_shape(shape)

    def call(self, inputs):
        x = self.residual_stack(self.conv(inputs))
        for upsample in self.upsamples:
            x = upsample(x)
        return x

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        height, width = (
            size and size * self.stride for size in (height, width)
        )
        return batch, height, width, self.output_dim

    def get_config(self):
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "stride": self.stride,
            "hidden_dim": self.hidden_dim,
            "residual_dim": self.residual_dim,
            "num_residual_blocks": self.num_residual_blocks,
            "skip_relu": self.skip_relu,
        }

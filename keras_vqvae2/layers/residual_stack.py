import keras
from keras import ops

from keras_vqvae2.arguments import check_flag
from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.remat import remat


def _relu(x, training):
    # After an addition of two convolutions `relu` makes TensorFlow 2.21 drop
    # every fusion of the whole function ("remapper failed"); `maximum` has
    # the slower gradient.
    return ops.relu(x) if training else ops.maximum(x, 0)


@keras.saving.register_keras_serializable("keras_vqvae2")
class ResidualStack(keras.layers.Layer):
    """Residual blocks at constant size, followed by a ReLU.

    Each block is `x + conv1x1(relu(conv3x3(relu(x))))`. With the sizes of
    VQ-VAE-2 (table 5 of arXiv 1906.00446) an input of shape
    `(16, 64, 64, 128)` goes through two blocks of 3x3 convolutions to 64
    channels and 1x1 convolutions back to 128; the shape stays the same.

    Args:
        num_residual_blocks: Number of blocks.
        residual_dim: Channels inside a block ("residual units").
        skip_relu: Whether a block adds to `relu(x)` instead of `x`. So do
            networks whose first ReLU overwrites its input, see
            `keras_vqvae2.from_pytorch`.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Float tensor `(batch, height, width, channels)`.

    Returns:
        Tensor of the input's shape, not negative.

    Raises:
        ValueError: If `num_residual_blocks` is negative, `residual_dim` not
            positive, or `skip_relu` not a bool.

    Example:

    ```python
    stack = keras_vqvae2.layers.ResidualStack(2, 64)
    assert stack(keras.ops.ones((16, 64, 64, 128))).shape == (16, 64, 64, 128)
    ```
    """

    def __init__(
        self,
        num_residual_blocks=2,
        residual_dim=64,
        skip_relu=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_residual_blocks = check_integer(
            "num_residual_blocks", num_residual_blocks, minimum=0
        )
        self.residual_dim = check_integer("residual_dim", residual_dim)
        self.skip_relu = check_flag("skip_relu", skip_relu)

    def build(self, input_shape):
        def conv(filters, kernel_size, name, **kwargs):
            return keras.layers.Conv2D(
                filters,
                kernel_size,
                padding="same",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=name,
                **kwargs,
            )

        channels = input_shape[-1]
        inner_shape = (*input_shape[:-1], self.residual_dim)
        self.blocks = []
        for i in range(self.num_residual_blocks):
            spatial = conv(
                self.residual_dim,
                3,
                f"block_{i}_conv3",
                activation="relu",
                kernel_initializer="he_normal",
            )
            pointwise = conv(channels, 1, f"block_{i}_conv1")
            spatial.build(input_shape)
            pointwise.build(inner_shape)
            self.blocks.append((spatial, pointwise))

    def call(self, inputs, training=False, rematerialize=False):
        x = inputs
        for spatial, pointwise in self.blocks:

            def block(x, spatial=spatial, pointwise=pointwise):
                activated = _relu(x, training)
                skipped = activated if self.skip_relu else x
                return skipped + pointwise(spatial(activated))

            x = remat(block, rematerialize=rematerialize)(x)
        return _relu(x, training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_residual_blocks": self.num_residual_blocks,
            "residual_dim": self.residual_dim,
            "skip_relu": self.skip_relu,
        }

import keras
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.rematerialize import rematerialize


@keras.saving.register_keras_serializable("keras_vqvae2")
class GatedMaskedConv2D(keras.layers.Layer):
    """Gated PixelCNN block: a vertical and a horizontal causal stack.

    At each position the vertical stack sees all rows above, the horizontal
    one the row so far and, through the vertical one, all of the past: no blind
    spot. The masked kernels are kept as their causal parts, so nothing is
    multiplied by zero. With the top prior's sizes (table 3 of VQ-VAE-2) two
    maps of shape `(16, 32, 32, 512)` go through 5x5 gates of 2048 units and
    back to 512, each with its skip connection.

    `"A"` masks the position itself: for the first block, which sees the codes.
    It has no skip connection, which would give them away. `"B"` is for blocks
    after one of type `"A"`.

    Sources: section 2 and figure 2 of Gated PixelCNN (arXiv 1606.05328);
    conditioning, equations 3 and 4 there.

    Args:
        residual_dim: Units of the gates.
        kernel_size: Odd width and height of the kernel before masking.
        mask_type: `"A"` or `"B"`.
        dropout: Dropout rate of the gates' outputs.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Tuple of the two stacks' maps `(batch, height, width,
            channels)`, vertical first.
        class_vector: Tensor `(batch, class_channels)`, or None.
        condition: Tensor `(batch, height, width, condition_channels)`, or
            None. Whether these two are given must not change.
        recompute: Whether the gates are not kept for the gradients but
            computed again.

    Returns:
        Tuple of the two stacks' maps, shaped as the inputs.

    Raises:
        ValueError: If an argument is out of range, or the two maps' shapes
            differ.

    Example:

    ```python
    block = keras_vqvae2.layers.GatedMaskedConv2D(64, 5, mask_type="A")
    maps = keras.ops.ones((2, 8, 8, 32))
    vertical, horizontal = block((maps, maps))
    assert horizontal.shape == (2, 8, 8, 32)
    ```
    """

    def __init__(
        self,
        residual_dim,
        kernel_size=5,
        mask_type="B",
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_integer("kernel_size", kernel_size, minimum=3)
        if kernel_size % 2 == 0:
            raise ValueError(
                f"`kernel_size` must be odd. Received: {kernel_size!r}"
            )
        if mask_type not in ("A", "B"):
            raise ValueError(
                f'`mask_type` must be "A" or "B". Received: {mask_type!r}'
            )
        self.residual_dim = check_integer("residual_dim", residual_dim)
        self.kernel_size = kernel_size
        self.mask_type = mask_type
        self.dropout = dropout
        self.dropouts = [
            keras.layers.Dropout(dropout, dtype=self.dtype_policy, name=name)
            for name in ("vertical_dropout", "horizontal_dropout")
        ]

    def build(
        self, inputs_shape, class_vector_shape=None, condition_shape=None
    ):
        vertical_shape, horizontal_shape = inputs_shape
        if tuple(vertical_shape) != tuple(horizontal_shape):
            raise ValueError(
                "The two stacks' maps must have the same shape. Received: "
                f"{vertical_shape} and {horizontal_shape}"
            )
        batch, height, width, channels = vertical_shape
        half = self.kernel_size // 2
        past = half + (self.mask_type == "B")  # rows or columns in sight
        gates = 2 * self.residual_dim

        def conv(name, filters, kernel_size, in_channels, use_bias=True):
            layer = keras.layers.Conv2D(
                filters,
                kernel_size,
                data_format="channels_last",
                use_bias=use_bias,
                dtype=self.dtype_policy,
                name=name,
            )
            layer.build((None, None, None, in_channels))
            return layer

        self.vertical_conv = conv(
            "vertical_conv", gates, (past, self.kernel_size), channels
        )
        self.horizontal_conv = conv(
            "horizontal_conv", gates, (1, past), channels
        )
        self.vertical_projection = conv(
            "vertical_projection", channels, 1, self.residual_dim
        )
        self.horizontal_projection = conv(
            "horizontal_projection", channels, 1, self.residual_dim
        )
        self.vertical_to_horizontal = conv(
            "vertical_to_horizontal", gates, 1, channels, use_bias=False
        )
        self.class_projection = self.condition_projection = None
        if class_vector_shape is not None:
            self.class_projection = keras.layers.Dense(
                2 * gates,
                use_bias=False,
                dtype=self.dtype_policy,
                name="class_projection",
            )
            self.class_projection.build(class_vector_shape)
        if condition_shape is not None:
            self.condition_projection = conv(
                "condition_projection",
                2 * gates,
                1,
                condition_shape[-1],
                use_bias=False,
            )

    def call(
        self,
        inputs,
        class_vector=None,
        condition=None,
        training=False,
        recompute=False,
    ):
        vertical, horizontal = inputs
        given = tuple(x for x in (class_vector, condition) if x is not None)
        half = self.kernel_size // 2

        def vertical_stack(vertical, *given):
            x, skip = vertical, vertical
            if self.mask_type == "A":  # the last row is nobody's past
                x, skip = x[:, :-1], 0.0
            x = ops.pad(x, [[0, 0], [half, 0], [half, half], [0, 0]])
            x = self.vertical_conv(x)
            return skip + self.vertical_projection(
                self.dropouts[0](self._gated(x, given, 0), training=training)
            )

        def horizontal_stack(horizontal, vertical, *given):
            x, skip = horizontal, horizontal
            if self.mask_type == "A":  # nor is the last column
                x, skip = x[:, :, :-1], 0.0
            x = ops.pad(x, [[0, 0], [0, 0], [half, 0], [0, 0]])
            x = self.horizontal_conv(x) + self.vertical_to_horizontal(vertical)
            return skip + self.horizontal_projection(
                self.dropouts[1](self._gated(x, given, 1), training=training)
            )

        vertical = rematerialize(vertical_stack, self.dropouts[:1], recompute)(
            vertical, *given
        )
        horizontal = rematerialize(
            horizontal_stack, self.dropouts[1:], recompute
        )(horizontal, vertical, *given)
        return vertical, horizontal

    def _gated(self, x, given, stack):
        given = iter(given)
        class_vector = condition = None
        if self.class_projection is not None:
            class_vector = next(given)
        if self.condition_projection is not None:
            condition = next(given)
        x = self.conditioned(x, class_vector, condition, stack)
        return self.gate(*ops.split(x, 2, axis=-1))

    def conditioned(self, x, class_vector, condition, stack):
        """What enters the gates of a stack, 0 (vertical) or 1.

        The map comes before the class, which is the same everywhere: XLA would
        lay out whole maps of the class to add it within the convolution.
        """
        gates = 2 * self.residual_dim
        part = slice(stack * gates, (stack + 1) * gates)

        def project(layer, x):
            kernel = ops.cast(layer.kernel[..., part], self.compute_dtype)
            return ops.matmul(x, ops.reshape(kernel, (-1, gates)))

        if self.condition_projection is not None:
            x = x + project(self.condition_projection, condition)
        if self.class_projection is not None:
            added = project(self.class_projection, class_vector)
            x = x + added[:, None, None]
        return x

    def gate(self, features, gates):
        return ops.tanh(features) * ops.sigmoid(gates)

    def compute_output_shape(
        self, inputs_shape, class_vector_shape=None, condition_shape=None
    ):
        return tuple(tuple(shape) for shape in inputs_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "residual_dim": self.residual_dim,
            "kernel_size": self.kernel_size,
            "mask_type": self.mask_type,
            "dropout": self.dropout,
        }

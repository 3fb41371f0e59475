import math

import keras
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.remat import in_order
from keras_vqvae2.backend.remat import remat
from keras_vqvae2.layers._dense_step import apply_dense
from keras_vqvae2.layers._dense_step import dense_weights

# Queries at a time: what they cannot see is not computed, and with
# rematerialisation memory grows with the map, not with its square.
_QUERIES = 128


@keras.saving.register_keras_serializable("keras_vqvae2")
class CausalSelfAttention(keras.layers.Layer):
    """Multi-head attention over the earlier positions of a map.

    Positions are in raster order. With the top prior's sizes (table 3 of
    VQ-VAE-2) a map of shape `(16, 32, 32, 512)` is 1024 positions, each of
    which looks at those before it with 8 heads of 64 dimensions. Learned row
    and column embeddings tell queries and keys where they are.

    The dropout of the logits comes before the mask: a dropped logit is zero,
    which after the mask would open the future.

    Sources: PixelSNAIL, section 3 (arXiv 1712.09763); VQ-VAE-2, appendix A.

    Args:
        num_heads: Number of heads.
        head_dim: Dimensions of a head's queries, keys and values.
        mask_type: `"A"`: a position sees those before it, for keys that hold
            the code at their own position; the first one sees nothing and gets
            zeros. `"B"`: it sees itself too.
        dropout: Dropout rate of the logits.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Tensor `(batch, height, width, channels)`, for the queries.
        keys: Tensor `(batch, height, width, key_channels)` for keys and
            values; `inputs` if None.
        rematerialize: Whether the logits are not kept for the gradients but
            computed again, 128 queries at a time.

    Returns:
        Tensor `(batch, height, width, num_heads * head_dim)`.

    Raises:
        ValueError: If an argument is out of range, or height and width are
            unknown when the layer is built.

    Example:

    ```python
    attention = keras_vqvae2.layers.CausalSelfAttention(2, 8)
    assert attention(keras.ops.ones((1, 4, 4, 32))).shape == (1, 4, 4, 16)
    ```
    """

    def __init__(
        self, num_heads=8, head_dim=64, mask_type="B", dropout=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        if mask_type not in ("A", "B"):
            raise ValueError(
                f'`mask_type` must be "A" or "B". Received: {mask_type!r}'
            )
        self.num_heads = check_integer("num_heads", num_heads)
        self.head_dim = check_integer("head_dim", head_dim)
        self.mask_type = mask_type
        self.dropout = dropout
        # The softmax over up to thousands of positions is not for bfloat16.
        float64 = self.compute_dtype == "float64"
        self.logits_dtype = "float64" if float64 else "float32"
        self.logits_dropout = keras.layers.Dropout(
            dropout, dtype=self.logits_dtype, name="logits_dropout"
        )

    def build(self, inputs_shape, keys_shape=None):
        _, height, width, channels = inputs_shape
        if height is None or width is None:
            raise ValueError(
                "Attention needs a map of known height and width, for its "
                f"position embeddings. Received: {tuple(inputs_shape)}"
            )
        key_channels = channels if keys_shape is None else keys_shape[-1]
        dim = self.num_heads * self.head_dim

        def dense(name, units, channels):
            layer = keras.layers.Dense(
                units, dtype=self.dtype_policy, name=name
            )
            layer.build((None, None, channels))
            return layer

        self.query = dense("query", dim, channels)
        self.key_value = dense("key_value", 2 * dim, key_channels)
        self.row_embedding = self.add_weight(
            name="row_embedding",
            shape=(height, 1, 2 * dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )
        self.column_embedding = self.add_weight(
            name="column_embedding",
            shape=(1, width, 2 * dim),
            initializer=keras.initializers.RandomNormal(stddev=0.02),
        )

    def call(self, inputs, keys=None, training=False, rematerialize=False):
        batch, height, width, _ = ops.shape(inputs)
        length = height * width
        keys = inputs if keys is None else keys
        query, key, value = self.project(inputs, keys)  # (B, heads, N, d)
        results = []
        for start in range(0, length, _QUERIES):

            def attend(query, key, value, start=start):
                stop = min(start + _QUERIES, length)
                return self._attend(
                    query[:, :, start:stop],
                    key[:, :, :stop],
                    value[:, :, :stop],
                    start,
                    training,
                )

            if rematerialize:  # one after the other, backwards too
                query, key, value, *results[-1:] = in_order(
                    query, key, value, *results[-1:]
                )
            attend = remat(attend, [self.logits_dropout], rematerialize)
            results.append(attend(query, key, value))
        x = ops.concatenate(results, axis=2)
        x = ops.transpose(x, (0, 2, 1, 3))  # (B, N, heads, d)
        return ops.reshape(x, (batch, height, width, -1))

    def _attend(self, query, key, value, start, training):
        """Attention of the queries from `start` on."""
        logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
        logits = self.logits_dropout(
            ops.cast(logits, self.logits_dtype), training=training
        )
        queries = ops.arange(start, start + query.shape[2])[:, None]
        position = ops.arange(key.shape[2])
        if self.mask_type == "A":
            visible = queries > position
        else:
            visible = queries >= position
        weights = masked_softmax(logits, visible)
        return ops.matmul(ops.cast(weights, value.dtype), value)

    def project(self, inputs, keys):
        """Scaled queries, keys and values `(batch, heads, positions, d)`."""
        batch, height, width, _ = ops.shape(inputs)
        place = self.row_embedding + self.column_embedding  # (H, W, 2 dim)
        place = ops.cast(place, self.compute_dtype)

        def heads(x):
            shape = (batch, height * width, self.num_heads, self.head_dim)
            return ops.transpose(ops.reshape(x, shape), (0, 2, 1, 3))

        query = self._placed_query(self.query(inputs), place)
        key, value = self._placed_key_value(self.key_value(keys), place)
        return heads(query), heads(key), heads(value)

    def step_weights(self):
        """The weights of `step` and `step_key_value`, cast once."""
        return {
            "query": dense_weights(self.query),
            "key_value": dense_weights(self.key_value),
        }

    def step(self, inputs, row, column, memory, visible, weights):
        """Attention of the query at one position.

        With `step_key_value`, what `call` computes, one position after the
        other.

        Args:
            inputs: Tensor `(batch, channels)`, for the query.
            row: Row of the position.
            column: Column of the position.
            memory: List of pairs `(keys, values)`, each `(batch, num_heads,
                positions, head_dim)`: what `step_key_value` gave earlier.
            visible: Boolean tensor: which of all these positions the query
                sees, one after the other.
            weights: As of `step_weights`.

        Returns:
            Tensor `(batch, num_heads * head_dim)`.
        """
        query = apply_dense(weights["query"], inputs)
        query = self._placed_query(query, self._place(row, column))
        query = ops.reshape(query, (-1, self.num_heads, 1, self.head_dim))
        logits = [
            ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))
            for keys, _ in memory
        ]
        logits = ops.cast(ops.concatenate(logits, -1), self.logits_dtype)
        attention = masked_softmax(logits, visible)
        attention = ops.cast(attention, self.compute_dtype)
        x, start = 0.0, 0
        for _, values in memory:
            stop = start + values.shape[2]
            x = x + ops.matmul(attention[..., start:stop], values)
            start = stop
        return ops.reshape(x, (-1, self.num_heads * self.head_dim))

    def step_key_value(self, keys, row, column, weights):
        """Key and value of one position, for the queries after it.

        Args:
            keys: Tensor `(batch, key_channels)`.
            row: Row of the position.
            column: Column of the position.
            weights: As of `step_weights`.

        Returns:
            Tuple of two tensors `(batch, num_heads, 1, head_dim)`.
        """
        x = apply_dense(weights["key_value"], keys)
        shape = (-1, self.num_heads, 1, self.head_dim)
        return tuple(
            ops.reshape(x, shape)
            for x in self._placed_key_value(x, self._place(row, column))
        )

    def _place(self, row, column):
        place = ops.take(self.row_embedding[:, 0], row, axis=0) + ops.take(
            self.column_embedding[0], column, axis=0
        )
        return ops.cast(place, self.compute_dtype)  # (2 dim,)

    def _placed_query(self, query, place):
        query = query + place[..., : query.shape[-1]]
        return query / math.sqrt(self.head_dim)

    def _placed_key_value(self, key_value, place):
        key, value = ops.split(key_value, 2, axis=-1)
        return key + place[..., key.shape[-1] :], value

    def compute_output_shape(self, inputs_shape, keys_shape=None):
        return (*inputs_shape[:-1], self.num_heads * self.head_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
            "mask_type": self.mask_type,
            "dropout": self.dropout,
        }


def masked_softmax(logits, visible):
    """Softmax over what is visible; zeros where nothing is."""
    logits = ops.where(visible, logits, -1e30)
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    weights = ops.where(visible, ops.exp(logits), 0.0)
    total = ops.sum(weights, axis=-1, keepdims=True)
    return weights / ops.maximum(total, 1e-30)

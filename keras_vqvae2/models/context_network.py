import keras
from keras import ops

from keras_vqvae2.weights import to_numpy


@keras.saving.register_keras_serializable("keras_vqvae2")
class ContextNetwork(keras.Model):
    """Logits of codes, given codes near them: `codec.ContextLevel` in training.

    A coarser code covers a square of 2x2 codes, say. For 14 neighbours of
    each of these in their own map, integers `(batch, 4, 14)`, and 9 codes of
    the coarser map, `(batch, 9)`, it gives logits `(batch, 4, 512)`. Codes are
    embedded; the coarser ones go through a hidden layer of their own, whose
    output adds to the first hidden layer of all.

    Args:
        num_embeddings: Number of different codes. Codes outside of the image
            count as this one.
        num_neighbors: Neighbours in the same map.
        num_coarse: Codes of the coarser map; 0 without one.
        num_places: Codes that a coarser code covers; 1 without.
        embedding_dim: Dimension of the embeddings.
        coarse_dim: Units of the coarser codes' own layer.
        hidden_dims: Units of the hidden layers.

    Call arguments:
        inputs: Dict of integer tensors: `neighbors`, `(batch, num_places,
            num_neighbors)`, and with a coarser map `coarse`, `(batch,
            num_coarse)`.

    Output shape:
        float32 `(batch, num_places, num_embeddings)`.

    Example:

    ```python
    network = keras_vqvae2.models.ContextNetwork(
        512, num_neighbors=2, hidden_dims=(16,)
    )
    inputs = {"neighbors": np.array([[[3, 512]]])}  # the second is outside
    assert network(inputs).shape == (1, 1, 512)
    ```
    """

    def __init__(
        self,
        num_embeddings,
        num_neighbors=14,
        num_coarse=0,
        num_places=1,
        embedding_dim=64,
        coarse_dim=256,
        hidden_dims=(320, 256),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_embeddings = num_embeddings
        self.num_neighbors = num_neighbors
        self.num_coarse = num_coarse
        self.num_places = num_places
        self.embedding_dim = embedding_dim
        self.coarse_dim = coarse_dim
        self.hidden_dims = tuple(hidden_dims)
        first, *others = self.hidden_dims
        self.embeddings = self._embedding("embeddings")
        self.neighbors = self._dense(first, "neighbors", use_bias=False)
        if num_coarse:
            self.coarse_embeddings = self._embedding("coarse_embeddings")
            self.coarse = self._dense(coarse_dim, "coarse", "relu")
            self.coarse_output = self._dense(
                num_places * first, "coarse_output", use_bias=False
            )
        self.hidden = [
            self._dense(hidden_dim, f"hidden_{i + 1}", "relu")
            for i, hidden_dim in enumerate(others)
        ]
        self.output_logits = self._dense(num_embeddings, "output")
        self.bias = self.add_weight(
            shape=(num_places, first), initializer="zeros", name="bias"
        )
        self.build(None)

    def _embedding(self, name):
        return keras.layers.Embedding(
            self.num_embeddings + 1,
            self.embedding_dim,
            name=name,
            dtype=self.dtype_policy,
        )

    def _dense(self, units, name, activation=None, use_bias=True):
        return keras.layers.Dense(
            units,
            activation,
            use_bias,
            name=name,
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        del input_shape
        first, *others = self.hidden_dims
        self.embeddings.build((None, self.num_neighbors))
        self.neighbors.build((None, self.num_neighbors * self.embedding_dim))
        if self.num_coarse:
            self.coarse_embeddings.build((None, self.num_coarse))
            self.coarse.build((None, self.num_coarse * self.embedding_dim))
            self.coarse_output.build((None, self.coarse_dim))
        width = first
        for layer, hidden_dim in zip(self.hidden, others, strict=True):
            layer.build((None, width))
            width = hidden_dim
        self.output_logits.build((None, width))
        self.built = True

    def call(self, inputs):
        x = self.embeddings(inputs["neighbors"])  # (B, places, neighbors, D)
        x = ops.reshape(
            x, (-1, self.num_places, self.num_neighbors * self.embedding_dim)
        )
        x = self.neighbors(x)
        x = x + ops.cast(self.bias, x.dtype)
        if self.num_coarse:
            coarse = self.coarse_embeddings(inputs["coarse"])
            coarse = ops.reshape(
                coarse, (-1, self.num_coarse * self.embedding_dim)
            )
            coarse = self.coarse_output(self.coarse(coarse))
            x = x + ops.reshape(
                coarse, (-1, self.num_places, self.hidden_dims[0])
            )
        x = ops.relu(x)  # (B, places, hidden)
        for layer in self.hidden:
            x = layer(x)
        return ops.cast(self.output_logits(x), "float32")

    def _named_weights(self):
        for weight in self.weights:
            name = weight.path.split("/", 1)[1]
            yield name.removesuffix("/embeddings"), weight

    def set_arrays(self, arrays):
        """Takes weights that `arrays` gave.

        Args:
            arrays: Dict of NumPy arrays, of a network of the same sizes.
        """
        for name, weight in self._named_weights():
            array = arrays[name].astype("float32")
            weight.assign(array.reshape(weight.shape))

    def arrays(self):
        """NumPy arrays of the weights, as `codec.ContextLevel` takes them."""
        arrays = {
            name: to_numpy(weight) for name, weight in self._named_weights()
        }
        dim, first = self.embedding_dim, self.hidden_dims[0]
        shapes = {
            "neighbors/kernel": (self.num_neighbors, dim, first),
            "coarse/kernel": (self.num_coarse, dim, self.coarse_dim),
            "coarse_output/kernel": (self.coarse_dim, self.num_places, first),
        }
        for name in shapes.keys() & arrays.keys():
            arrays[name] = arrays[name].reshape(shapes[name])
        return arrays

    def get_config(self):
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "num_neighbors": self.num_neighbors,
            "num_coarse": self.num_coarse,
            "num_places": self.num_places,
            "embedding_dim": self.embedding_dim,
            "coarse_dim": self.coarse_dim,
            "hidden_dims": self.hidden_dims,
        }

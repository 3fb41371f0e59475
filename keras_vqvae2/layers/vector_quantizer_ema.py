import keras
from keras import ops

from keras_vqvae2.arguments import check_number
from keras_vqvae2.layers.vector_quantizer import VectorQuantizer


@keras.saving.register_keras_serializable("keras_vqvae2")
class VectorQuantizerEMA(VectorQuantizer):
    """Vector quantizer whose codebook is a moving average of its inputs.

    As `VectorQuantizer`, but without a gradient for the codebook. In training
    each code moves to the running mean of the vectors that chose it (section
    2.1 of VQ-VAE-2, arXiv 1906.00446):

        N <- decay * N + (1 - decay) * n
        m <- decay * m + (1 - decay) * sum of the n vectors
        e <- m / N

    `N` starts at 1 and `m` at `e`, so a code that nobody chose stays where it
    is. A code whose count fell under `epsilon` is held, not divided by a
    vanishing number. The common additive smoothing of the counts is left out
    on purpose: it pulls rare codes toward the origin and off the data.

    The layer adds the commitment loss alone,
    `commitment_cost * mean((z - sg[e])^2)`. Under `tf.distribute` the counts
    and sums are those of all replicas.

    Args:
        num_embeddings: Number of codebook vectors, K.
        embedding_dim: Dimension D of the vectors: the input's last axis.
        commitment_cost: Weight of the commitment term, beta. Not negative.
        decay: Weight of the past in the moving averages, gamma, in (0, 1).
        epsilon: Smallest running count that still moves its code.
        dead_code_threshold: A code whose running count is below this share of
            the mean count is restarted. 0 turns restarts off.
        seed: Integer; seeds the choice of vectors for new codes.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Float tensor `(..., embedding_dim)`.
        training: Whether the codebook moves.

    Returns:
        Tuple `(quantized, codes)`, as for `VectorQuantizer`.

    Raises:
        ValueError: If an argument is out of range, or the last axis of the
            input is not `embedding_dim`.

    Example:

    ```python
    layer = keras_vqvae2.layers.VectorQuantizerEMA(512, 64)
    features = keras.random.normal((16, 32, 32, 64))
    quantized, codes = layer(features, training=True)
    assert quantized.shape == (16, 32, 32, 64)
    ```
    """

    def __init__(
        self,
        num_embeddings=512,
        embedding_dim=64,
        commitment_cost=0.25,
        decay=0.99,
        epsilon=1e-5,
        dead_code_threshold=0.05,
        seed=0,
        **kwargs,
    ):
        super().__init__(
            num_embeddings,
            embedding_dim,
            commitment_cost,
            dead_code_threshold=dead_code_threshold,
            seed=seed,
            **kwargs,
        )
        if not 0 < decay < 1:
            raise ValueError(f"`decay` must be in (0, 1). Received: {decay!r}")
        check_number("epsilon", epsilon, 0, above=True)
        self.decay = decay
        self.epsilon = epsilon

    @property
    def _count_decay(self):
        return self.decay

    def build(self, input_shape):
        self._check_last_axis(input_shape)
        self.embeddings = self._add_codebook_weight("embeddings", False)
        self._build_counts()
        self.sums = self._add_state(
            "sums",
            (self.num_embeddings, self.embedding_dim),
            lambda shape, dtype=None: ops.copy(self.embeddings.value),
        )

    @property
    def codebook(self):
        """Float32 tensor `(num_embeddings, embedding_dim)`."""
        return ops.convert_to_tensor(self.embeddings.value)

    def _loss(self, vectors, quantized):
        commitment = ops.mean(
            ops.square(vectors - ops.stop_gradient(quantized))
        )
        return self.commitment_cost * commitment

    def _statistics(self, vectors, codes):
        sums = ops.segment_sum(vectors, codes, num_segments=self.num_embeddings)
        return [*super()._statistics(vectors, codes), sums]

    @property
    def statistics_shapes(self):
        """Shapes of the tensors that `update_codebook` takes."""
        codes = (self.num_embeddings, self.embedding_dim)
        return [(self.num_embeddings,), codes, codes]

    _state_names = ("counts", "initialized", "embeddings", "sums")

    def _averaged(self, state, statistics):
        batch_counts, batch_sums = statistics
        state = state | self._averages(
            state, counts=batch_counts, sums=batch_sums
        )
        counts = state["counts"]
        means = state["sums"] / ops.maximum(counts, self.epsilon)[:, None]
        embeddings = ops.where(
            (counts > self.epsilon)[:, None], means, state["embeddings"]
        )
        return {**state, "embeddings": embeddings}

    def _moved(self, state, moved, candidates, new_count):
        sums = new_count * candidates
        return {
            "embeddings": ops.where(moved, candidates, state["embeddings"]),
            "sums": ops.where(moved, sums, state["sums"]),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "decay": self.decay,
            "epsilon": self.epsilon,
        }

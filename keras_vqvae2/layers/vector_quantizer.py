import threading
import weakref

import keras
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.replicas import replica_count_and_id
from keras_vqvae2.backend.replicas import replica_sum
from keras_vqvae2.backend.step_record import current_microbatch
from keras_vqvae2.layers.nearest_codes import nearest_codes

_of_thread = threading.local()


@keras.saving.register_keras_serializable("keras_vqvae2")
class VectorQuantizer(keras.layers.Layer):
    """Replaces each vector by its nearest codebook vector, learned by gradient.

    An input of shape `(16, 32, 32, 64)` is taken as 16384 vectors of 64
    dimensions, and each is quantized by itself: the output holds the
    quantized vectors, `(16, 32, 32, 64)`, and their codes, `(16, 32, 32)`.

    This is equation 1 of VQ-VAE-2 (arXiv 1906.00446), trained with the last
    two terms of equation 2: the layer adds the loss

        mean((sg[z] - e)^2) + commitment_cost * mean((z - sg[e])^2)

    where `z` is the input, `e` its codebook vector, `sg` stops the gradient,
    and the mean runs over vectors and dimensions. The gradient of the output
    passes unchanged to the input (straight-through).

    The first training step fills the codebook with vectors of its batch. A
    code that is used less than `dead_code_threshold` times as often as the
    average code is moved to a vector of the batch at the end of a step. Both
    happen only in training and while the layer is trainable; `evaluate`,
    `predict` and a frozen layer move nothing. The layer computes in float32
    under every dtype policy, since half precision distances flip codes.

    Args:
        num_embeddings: Number of codebook vectors, K.
        embedding_dim: Dimension D of the vectors: the input's last axis.
        commitment_cost: Weight of the commitment term, beta. Not negative.
        dead_code_threshold: A code whose running count is below this share of
            the mean count is restarted. 0 turns restarts off.
        seed: Integer; seeds the choice of vectors for new codes. It has a
            fixed default so that the workers of a cluster agree.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras layer.

    Call arguments:
        inputs: Float tensor `(..., embedding_dim)`.
        training: Whether the codebook may be filled and dead codes restarted.

    Returns:
        Tuple `(quantized, codes)`: a tensor of the input's shape in the
        layer's compute dtype, and an int32 tensor without the last axis,
        `0 <= code < num_embeddings`.

    Raises:
        ValueError: If an argument is out of range, or the last axis of the
            input is not `embedding_dim`.

    Example:

    ```python
    layer = keras_vqvae2.layers.VectorQuantizer(512, 64)
    quantized, codes = layer(keras.random.normal((16, 32, 32, 64)))
    assert codes.shape == (16, 32, 32)
    ```
    """

    # Running counts and, in the EMA layer, the codebook: gamma of the paper.
    _count_decay = 0.99

    def __init__(
        self,
        num_embeddings=512,
        embedding_dim=64,
        commitment_cost=0.25,
        dead_code_threshold=0.05,
        seed=0,
        **kwargs,
    ):
        # Inputs and state stay float32 where the policy says bfloat16.
        super().__init__(autocast=False, **kwargs)
        if not commitment_cost >= 0:
            raise ValueError(
                "`commitment_cost` must not be negative. Received: "
                f"{commitment_cost!r}"
            )
        if not 0 <= dead_code_threshold < 1:
            raise ValueError(
                "`dead_code_threshold` is a share of the mean count and must "
                f"be in [0, 1). Received: {dead_code_threshold!r}"
            )
        self.num_embeddings = check_integer("num_embeddings", num_embeddings)
        self.embedding_dim = check_integer("embedding_dim", embedding_dim)
        self.commitment_cost = commitment_cost
        self.dead_code_threshold = dead_code_threshold
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True

    def _check_last_axis(self, input_shape):
        if input_shape[-1] != self.embedding_dim:
            raise ValueError(
                f"The last axis of the input must be embedding_dim="
                f"{self.embedding_dim}. Received input of shape "
                f"{tuple(input_shape)}."
            )

    def build(self, input_shape):
        self._check_last_axis(input_shape)
        # A restart must move a code on every backend, also where a step
        # returns trainable weights through the optimizer only. So the code is
        # the sum of a learned part and of an offset that a restart sets.
        self.embeddings = self._add_codebook_weight("embeddings", True)
        self.offsets = self._add_state(
            "offsets", (self.num_embeddings, self.embedding_dim), "zeros"
        )
        self._build_counts()

    def _build_counts(self):
        self.counts = self._add_state("counts", (self.num_embeddings,), "ones")
        self.initialized = self._add_state("initialized", (), "zeros")

    def _add_codebook_weight(self, name, trainable):
        return self.add_weight(
            name=name,
            shape=(self.num_embeddings, self.embedding_dim),
            initializer=keras.initializers.RandomNormal(
                stddev=self.embedding_dim**-0.5, seed=self.seed
            ),
            dtype="float32",
            autocast=False,
            trainable=trainable,
            **({} if trainable else {"aggregation": "mean"}),
        )

    def _add_state(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=shape,
            initializer=initializer,
            dtype="float32",
            autocast=False,
            trainable=False,
            aggregation="mean",
        )

    @property
    def codebook(self):
        """Float32 tensor `(num_embeddings, embedding_dim)`."""
        return ops.add(self.embeddings, ops.stop_gradient(self.offsets.value))

    def lookup(self, codes):
        """Codebook vectors of codes.

        Args:
            codes: Integer tensor `(...)`, `0 <= code < num_embeddings`.

        Returns:
            Tensor `(..., embedding_dim)` in the layer's compute dtype.
        """
        vectors = ops.take(self.codebook, codes, axis=0)
        return ops.cast(vectors, self.compute_dtype)

    def mean_embedding(self):
        """Mean codebook vector, weighted by use: `(embedding_dim,)`."""
        weights = self.counts / ops.sum(self.counts)
        return ops.cast(
            ops.sum(weights[:, None] * self.codebook, axis=0),
            self.compute_dtype,
        )

    def call(self, inputs, training=False):
        self._check_last_axis(inputs.shape)
        inputs = ops.cast(inputs, "float32")
        vectors = ops.reshape(inputs, (-1, self.embedding_dim))  # (N, D)
        detached = ops.stop_gradient(vectors)
        learning = training and self.trainable
        microbatch = current_microbatch()
        if learning:
            per_image = ops.shape(vectors)[0] // ops.shape(inputs)[0]
            candidates = self._draw_candidates(detached, per_image)  # (K, D)
            if microbatch is None:
                (candidates,) = replica_sum([candidates])
                self._fill(candidates)
        codebook = self.codebook
        codes = nearest_codes(detached, ops.stop_gradient(codebook))  # (N,)
        quantized = ops.take(codebook, codes, axis=0)  # (N, D)
        self._add_losses(vectors, quantized)
        quantized = ops.stop_gradient(quantized)
        if learning:
            statistics = self._statistics(detached, codes)
            if microbatch is None:
                self._update(replica_sum(statistics))
                self._restart_dead_codes(candidates)
            else:
                microbatch.statistics[self.name] = [*statistics, candidates]
        # The difference is zero, but its gradient is not: the value stays
        # exactly the codebook's.
        quantized = quantized + (vectors - detached)
        shape = ops.shape(inputs)
        return (
            ops.cast(ops.reshape(quantized, shape), self.compute_dtype),
            ops.reshape(codes, shape[:-1]),
        )

    @property
    def statistics_shapes(self):
        """Shapes of the tensors that `learn` takes."""
        codes = (self.num_embeddings, self.embedding_dim)
        return [(self.num_embeddings,), codes]

    def learn(self, statistics):
        """Ends a training step whose batch came in microbatches.

        An empty codebook is filled now, not before the step.

        Args:
            statistics: What a `Microbatch` collected for this layer, summed
                over the microbatches.
        """
        *statistics, candidates = replica_sum(statistics)
        self._update(statistics)
        self._restart_dead_codes(candidates)

    def _add_losses(self, vectors, quantized):
        commitment = ops.mean(
            ops.square(vectors - ops.stop_gradient(quantized))
        )
        codebook = ops.mean(ops.square(ops.stop_gradient(vectors) - quantized))
        self._add_own_loss(codebook + self.commitment_cost * commitment)

    def _add_own_loss(self, loss):
        self.add_loss(loss)
        if not hasattr(_of_thread, "losses"):
            _of_thread.losses = weakref.WeakKeyDictionary()
        _of_thread.losses[self] = loss

    @property
    def last_loss(self):
        """Loss of the last call, on this replica.

        `losses` has those of all replicas of `tf.distribute` that are in this
        process: they share the layer, each in a thread of its own.
        """
        return _of_thread.losses[self]

    def _fill(self, candidates):
        """Fills the codebook before its first use."""
        empty = ops.convert_to_tensor(self.initialized.value) < 0.5
        self._move_codes(
            ops.broadcast_to(empty, (self.num_embeddings,)), candidates, 1.0
        )

    def _restart_dead_codes(self, candidates):
        counts = ops.convert_to_tensor(self.counts.value)
        empty = ops.convert_to_tensor(self.initialized.value) < 0.5
        mean_count = ops.mean(counts)
        dead = counts < self.dead_code_threshold * mean_count
        # A moved code that nobody uses is dead again when its count has
        # halved, after 69 steps at a decay of 0.99: early in training, when
        # the encoder moves fast, it gets its next chance soon.
        share = ops.where(empty, 1.0, 2 * self.dead_code_threshold)
        self._move_codes(
            ops.logical_or(dead, empty), candidates, share * mean_count
        )

    def _draw_candidates(self, vectors, vectors_per_image):
        """One vector of the whole batch for each code, `(K, D)`.

        The replicas and microbatches draw the same. Each gives the vectors
        that it has and zeros for the others, so that their sum is all.
        """
        num_images = ops.shape(vectors)[0] // vectors_per_image
        num_replicas, replica_id = replica_count_and_id()
        microbatch = current_microbatch()
        num_parts = 1 if microbatch is None else microbatch.count
        total = ops.cast(
            ops.shape(vectors)[0] * num_replicas * num_parts, "float32"
        )
        # One draw from each K-th of the batch, cut between whole vectors, so
        # that no two are the same.
        edges = ops.floor(
            ops.arange(self.num_embeddings + 1, dtype="float32")
            * (total / self.num_embeddings)
        )
        draws = keras.random.uniform(
            (self.num_embeddings,), seed=self.seed_generator, dtype="float32"
        )
        indices = edges[:-1] + ops.floor(draws * (edges[1:] - edges[:-1]))
        indices = ops.cast(ops.minimum(indices, total - 1), "int32")
        if num_replicas * num_parts == 1:
            return ops.take(vectors, indices, axis=0)
        # A replica has the images that follow those of the replica before; a
        # microbatch has every `num_parts`-th of them.
        image = indices // vectors_per_image
        image = image - replica_id * (num_images * num_parts)
        row = image // num_parts * vectors_per_image
        row = row + indices % vectors_per_image
        mine = ops.logical_and(image >= 0, image < num_images * num_parts)
        if microbatch is not None:
            mine = ops.logical_and(mine, image % num_parts == microbatch.index)
        last = ops.shape(vectors)[0] - 1
        picked = ops.take(vectors, ops.clip(row, 0, last), axis=0)
        return ops.where(mine[:, None], picked, ops.zeros_like(picked))

    def _move_codes(self, wanted, candidates, new_count):
        """Moves the codes `wanted`, `(K,)`, where their candidate is usable."""
        usable = ops.all(ops.isfinite(candidates), axis=-1)
        moved = ops.logical_and(wanted, usable)
        self._set_codes(moved[:, None], candidates, new_count)
        self.counts.assign(ops.where(moved, new_count, self.counts.value))
        # A later batch without a usable vector must not start over.
        initialized = ops.cast(ops.any(usable), "float32")
        self.initialized.assign(
            ops.maximum(self.initialized.value, initialized)
        )

    def _set_codes(self, moved, candidates, new_count):
        self.offsets.assign(
            ops.where(
                moved,
                candidates - ops.stop_gradient(self.embeddings.value),
                self.offsets.value,
            )
        )

    def _statistics(self, vectors, codes):
        """What `_update` needs of a batch, as a list of sums over it."""
        counts = ops.segment_sum(
            ops.ones_like(codes, dtype="float32"),
            codes,
            num_segments=self.num_embeddings,
        )
        return [counts]

    def _update(self, statistics):
        """Moves the running counts."""
        (batch_counts,) = statistics
        self.counts.assign(self._moving_average(self.counts, batch_counts))

    def _moving_average(self, variable, value):
        return self._count_decay * variable + (1 - self._count_decay) * value

    def compute_output_spec(self, inputs, training=False):
        self._check_last_axis(inputs.shape)
        return (
            keras.KerasTensor(inputs.shape, dtype=self.compute_dtype),
            keras.KerasTensor(inputs.shape[:-1], dtype="int32"),
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "commitment_cost": self.commitment_cost,
            "dead_code_threshold": self.dead_code_threshold,
            "seed": self.seed,
        }

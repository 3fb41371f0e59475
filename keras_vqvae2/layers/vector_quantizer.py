import keras
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import check_number
from keras_vqvae2.backend.replicas import replica_sum
from keras_vqvae2.backend.step_record import current_part
from keras_vqvae2.backend.step_record import current_record
from keras_vqvae2.layers.code_restarts import draw_candidates
from keras_vqvae2.layers.code_restarts import restarts
from keras_vqvae2.layers.code_restarts import usable
from keras_vqvae2.layers.nearest_codes import nearest_codes
from keras_vqvae2.layers.saved_seeds import SavedSeeds


@keras.saving.register_keras_serializable("keras_vqvae2")
class VectorQuantizer(SavedSeeds, keras.layers.Layer):
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

    The models of this library update the codebook once their step knows that
    the gradients are finite (`update_codebook`). In any other model, and
    called by itself, the layer updates it at the end of each training call.

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
        check_number("commitment_cost", commitment_cost, 0)
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
        codebook = self.codebook  # (K, D)
        updating = training and self.trainable
        if updating:
            candidates = draw_candidates(
                detached,
                ops.shape(vectors)[0] // ops.shape(inputs)[0],
                self.num_embeddings,
                self.seed_generator,
            )  # (K, D)
            codebook = self._filled(codebook, candidates)
        codes = nearest_codes(detached, ops.stop_gradient(codebook))  # (N,)
        quantized = ops.take(codebook, codes, axis=0)  # (N, D)
        loss = self._loss(vectors, quantized)
        self.add_loss(loss)
        record = current_record()
        if record is not None:
            record.losses[self.name] = loss
        quantized = ops.stop_gradient(quantized)
        if updating:
            statistics = [*self._statistics(detached, codes), candidates]
            if record is None:
                self.update_codebook(statistics)
            else:
                record.statistics[self.name] = statistics
        # The difference is zero, but its gradient is not: the value stays
        # exactly the codebook's.
        quantized = quantized + (vectors - detached)
        shape = ops.shape(inputs)
        return (
            ops.cast(ops.reshape(quantized, shape), self.compute_dtype),
            ops.reshape(codes, shape[:-1]),
        )

    def _filled(self, codebook, candidates):
        """The codebook of this call: an empty one becomes the candidates.

        A part of the batch has not all of them, and is quantized with the
        codebook as it is.
        """
        _, num_parts = current_part()
        if num_parts > 1:
            return codebook
        (candidates,) = replica_sum([candidates])
        fill = ops.logical_and(self._empty(), usable(candidates))[:, None]
        gradient = codebook - ops.stop_gradient(codebook)  # zero in value
        return ops.where(fill, candidates + gradient, codebook)

    def _empty(self):
        return ops.convert_to_tensor(self.initialized.value) < 0.5

    def _loss(self, vectors, quantized):
        commitment = ops.mean(
            ops.square(vectors - ops.stop_gradient(quantized))
        )
        codebook = ops.mean(ops.square(ops.stop_gradient(vectors) - quantized))
        return codebook + self.commitment_cost * commitment

    def _statistics(self, vectors, codes):
        """Sums over a batch that `update_codebook` needs, as a list."""
        counts = ops.segment_sum(
            ops.ones_like(codes, dtype="float32"),
            codes,
            num_segments=self.num_embeddings,
        )
        # What is not finite has no code: the batch is left out of the averages.
        finite = ops.isfinite(ops.sum(vectors))
        return [ops.where(finite, counts, float("nan"))]

    @property
    def statistics_shapes(self):
        """Shapes of the tensors that `update_codebook` takes."""
        codes = (self.num_embeddings, self.embedding_dim)
        return [(self.num_embeddings,), codes]

    def update_codebook(self, statistics, finite=True):
        """Ends a training step: moving averages, restarts of dead codes.

        Args:
            statistics: What calls inside of `StepRecord.scope` recorded for
                this layer, summed over the parts of this replica's batch.
            finite: Boolean, maybe a tensor. If false, nothing changes.
        """
        *statistics, candidates = replica_sum(statistics)
        old = {
            name: ops.convert_to_tensor(getattr(self, name).value)
            for name in self._state_names
        }
        new = self._averaged(old, statistics)
        moved, new_count = restarts(
            new["counts"], self._empty(), candidates, self.dead_code_threshold
        )
        new |= self._moved(new, moved[:, None], candidates, new_count)
        new["counts"] = ops.where(moved, new_count, new["counts"])
        # A later batch without a usable vector must not start over.
        new["initialized"] = ops.maximum(
            old["initialized"], ops.cast(ops.any(usable(candidates)), "float32")
        )
        for name, value in new.items():
            getattr(self, name).assign(ops.where(finite, value, old[name]))

    _state_names = ("counts", "initialized", "offsets")

    def _averaged(self, state, statistics):
        """The state after a batch, without restarts."""
        return {**state, **self._averages(state, counts=statistics[0])}

    def _averages(self, state, **batch_values):
        """Moving averages by name; the old ones if a batch is not finite."""
        finite = ops.all(ops.isfinite(batch_values["counts"]))
        return {
            name: ops.where(
                finite, self._moving_average(state[name], value), state[name]
            )
            for name, value in batch_values.items()
        }

    def _moving_average(self, value, batch_value):
        decay = self._count_decay
        return decay * value + (1 - decay) * batch_value

    def _moved(self, state, moved, candidates, new_count):
        """What changes where `moved`, `(K, 1)`, codes become candidates."""
        offsets = candidates - ops.stop_gradient(self.embeddings.value)
        return {"offsets": ops.where(moved, offsets, state["offsets"])}

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

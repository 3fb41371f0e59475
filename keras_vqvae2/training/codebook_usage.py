import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_vqvae2")
class CodebookUsage(keras.metrics.Metric):
    """Share of a codebook's entries that were used since the last reset.

    Args:
        num_embeddings: Number of codebook entries, K.
        name: Name of the metric.
        dtype: Dtype of the result; the counts are float32.

    Example:

    ```python
    usage = keras_vqvae2.training.CodebookUsage(num_embeddings=4)
    usage.update_state([0, 0, 2])
    assert float(usage.result()) == 0.5
    ```
    """

    def __init__(self, num_embeddings, name="usage", dtype="float32"):
        super().__init__(name=name, dtype=dtype)
        self.num_embeddings = num_embeddings
        self.counts = self.add_variable(
            shape=(num_embeddings,),
            initializer="zeros",
            dtype="float32",
            name="counts",
        )

    def update_state(self, codes, sample_weight=None):
        """Counts the codes of an integer tensor of any shape.

        `sample_weight`, a scalar, multiplies the counts.
        """
        codes = ops.reshape(ops.cast(codes, "int32"), (-1,))
        counts = ops.segment_sum(
            ops.ones_like(codes, dtype="float32"),
            codes,
            num_segments=self.num_embeddings,
        )
        if sample_weight is not None:
            counts = counts * ops.cast(sample_weight, "float32")
        self.counts.assign(self.counts + counts)

    def result(self):
        """Scalar in [0, 1]."""
        return ops.mean(ops.cast(self.counts > 0, "float32"))

    def get_config(self):
        return {**super().get_config(), "num_embeddings": self.num_embeddings}

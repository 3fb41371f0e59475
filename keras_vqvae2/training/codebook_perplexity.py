import keras
from keras import ops

from keras_vqvae2.training.codebook_usage import CodebookUsage


@keras.saving.register_keras_serializable("keras_vqvae2")
class CodebookPerplexity(CodebookUsage):
    """Perplexity of a codebook's use since the last reset.

    The exponential of the entropy of the code histogram: K if all entries
    are used equally often, 1 if a single one is.

    Args:
        num_embeddings: Number of codebook entries, K.
        name: Name of the metric.
        dtype: Dtype of the result; the counts are float32.

    Example:

    ```python
    perplexity = keras_vqvae2.training.CodebookPerplexity(num_embeddings=4)
    perplexity.update_state([0, 2])
    assert abs(float(perplexity.result()) - 2.0) < 1e-5
    ```
    """

    def __init__(self, num_embeddings, name="perplexity", dtype="float32"):
        super().__init__(num_embeddings, name=name, dtype=dtype)

    def result(self):
        """Scalar in [1, K]; 0 before any code was seen."""
        total = ops.sum(self.counts)
        shares = self.counts / ops.maximum(total, 1.0)
        log_shares = ops.log(ops.where(shares > 0, shares, 1.0))
        perplexity = ops.exp(-ops.sum(shares * log_shares))
        return ops.where(total > 0, perplexity, 0.0)

import numpy as np
from keras import ops

from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.sampling.generate import check_fit


class LogProbabilities:
    """Log-probability of each code of whole maps, by the prior's full pass.

    Args:
        prior: `PixelSNAILPrior`, built.

    Example:

    ```python
    prior = keras_vqvae2.PixelSNAILPrior(
        code_shapes=((4, 4),), num_embeddings=16, hidden_dim=8, residual_dim=8,
        num_blocks=1, num_attention_layers=0, num_output_blocks=0,
    )
    log_probabilities = keras_vqvae2.sampling.LogProbabilities(prior)
    codes = np.zeros((3, 4, 4), "int32")
    ((given, entropies),) = log_probabilities((codes,))
    assert given.shape == entropies.shape == (3, 4, 4)
    assert given.max() < 0 < entropies.min()
    ```
    """

    def __init__(self, prior):
        self.prior = prior

        def function(codes, labels):
            inputs = {"codes": codes}
            if labels is not None:
                inputs["labels"] = labels
            all_codes = ops.log_softmax(prior(inputs, training=False), axis=-1)
            given = ops.take_along_axis(
                all_codes, codes[-1][..., None], axis=-1
            )
            entropies = -ops.sum(ops.exp(all_codes) * all_codes, axis=-1)
            return given[..., 0], entropies

        self._function = compile_function(prior, function)

    def __call__(self, codes, labels=None, batch_size=16):
        """Yields pairs of float arrays `(batch, height, width)`, in nats.

        The first are the log-probabilities of the codes, the second the
        entropies of the distributions that they come from.

        Args:
            codes: Sequence of integer arrays `(images, height_i, width_i)`,
                the coarser maps and the prior's own.
            labels: Integer array `(images,)`; None for no class.
            batch_size: Images at a time.

        Raises:
            ValueError: If codes or labels do not fit the prior.
        """
        prior = self.prior
        check_fit(prior, labels, codes[:-1])
        number = len(codes[-1])
        if prior.num_classes is None:
            labels = None
        elif labels is None:
            labels = np.full((number,), prior.num_classes)
        codes = tuple(np.asarray(x, "int32") for x in codes)
        size = min(batch_size, number)
        for start in range(0, number, size):
            # A smaller last batch would be compiled by itself.
            images = np.arange(start, start + size)
            padded = np.minimum(images, number - 1)
            values = self._function(
                tuple(x[padded] for x in codes),
                None if labels is None else np.int32(labels[padded]),
            )
            yield tuple(
                ops.convert_to_numpy(x)[: number - start] for x in values
            )

"""Sampling of all codes of a map at once, by passes of the whole prior."""

import math

import numpy as np
from keras import ops

from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.sampling.code_sampler import CodeSampler
from keras_vqvae2.sampling.draws import gumbel_noise


class FixedPointSampler(CodeSampler):
    """Samples the codes of a prior by fixed-point iteration.

    A code is the maximum of its logits plus Gumbel noise, which is drawn
    beforehand. So a pass of the prior over guesses of all codes gives better
    guesses: those whose earlier codes are right are right. Once a pass changes
    nothing, the codes are those that the same noise gives one after the
    other. That takes fewer passes than there are codes, each over the whole
    map: worth it where a pass takes hardly longer than a code, as on an
    accelerator whose time goes into starting operations. On a CPU
    `CachedSampler` is much faster. The two draw from the same distribution,
    but give other samples for a seed.

    Source: Wiggers and Hoogeboom, "Predictive sampling with forecasting
    autoregressive models", section 3, https://arxiv.org/abs/2002.09928.

    Args:
        prior: `PixelSNAILPrior`, built.
        **kwargs: Other arguments of `CodeSampler`.

    Attributes:
        num_passes: Passes that the last batch took.

    Raises:
        ValueError: As `CodeSampler`; in `sample` if `choose` is given.
    """

    def __init__(self, prior, **kwargs):
        super().__init__(prior, **kwargs)
        self.num_passes = 0
        self._positions_at_once = math.prod(prior.code_shapes[-1])
        self._pass = compile_function(prior, self._next_guess)

    def _sample(self, draws, coarser, labels, forced, on_row, choose):
        if choose is not None:
            raise ValueError(
                "Candidates are chosen row by row, and a fixed point is of all "
                "rows: take a `CachedSampler`."
            )
        _, height, width = draws.shape
        coarser, labels = self._with_copies(coarser, labels)
        # To the device once, not in each pass.
        noise = ops.convert_to_tensor(
            gumbel_noise(draws, self.prior.num_embeddings)
        )
        codes = np.where(forced < 0, 0, forced)
        rows = 0
        # Each pass ends with one more right code at least.
        for self.num_passes in range(1, height * width + 2):
            guess, log_probability, logits = self._pass(
                coarser, labels, codes, noise, forced
            )
            guess = ops.convert_to_numpy(guess)
            changed = np.flatnonzero((guess != codes).any(axis=0))
            codes = guess
            # The first one that changed saw right codes alone: it is right.
            right = changed[0] + 1 if len(changed) else height * width
            while rows < right // width:
                rows += 1
                if on_row is not None:
                    on_row(rows)
            if not len(changed):
                break
        log_probability = ops.convert_to_numpy(log_probability)
        if not self.keep_logits:
            return codes, log_probability, None
        return codes, log_probability, ops.convert_to_numpy(logits)

    def _next_guess(self, coarser, labels, codes, noise, forced):
        """Codes, their summed log-probabilities and logits of a pass."""
        codes, forced = map(ops.convert_to_tensor, (codes, forced))
        inputs = {"codes": (*coarser, ops.tile(codes, (self._copies, 1, 1)))}
        if labels is not None:
            inputs["labels"] = labels
        logits, guided = self._guided(self.prior(inputs, training=False))
        drawn = ops.argmax(guided + noise, axis=-1)
        codes = ops.where(forced < 0, ops.cast(drawn, "int32"), forced)
        log_probability = ops.take_along_axis(
            ops.log_softmax(logits, axis=-1), codes[..., None], axis=-1
        )
        return codes, ops.sum(log_probability, axis=(1, 2, 3)), logits

"""What the ways to sample from a `PixelSNAILPrior` share."""

import abc
import math

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.threads import threads_for
from keras_vqvae2.sampling.draws import truncate_logits


class CodeSampler(abc.ABC):
    """Samples the codes of a prior.

    Args:
        prior: `PixelSNAILPrior`, built.
        temperature: Divides the logits.
        top_k: The number of most likely codes to draw from, or None for all.
        top_p: Draw from the most likely codes that have this probability
            together, or None for all.
        guidance_scale: Codes are drawn from the logits without a class, plus
            this times what the class adds to them. 1 is the prior itself;
            more favours codes that are typical of the class, at the price of
            variety and of twice the work. Source: Ho and Salimans,
            "Classifier-free diffusion guidance", section 3.2,
            https://arxiv.org/abs/2207.12598, on logits.
        keep_logits: Whether to return the prior's logits too.

    Raises:
        ValueError: If an argument is out of range, or the prior cannot be
            guided.
    """

    # Of each image, in one call of the network.
    _positions_at_once = 1

    def __init__(
        self,
        prior,
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        keep_logits=False,
    ):
        if not (0 < temperature < math.inf):
            raise ValueError(
                "`temperature` must be positive. For the most likely codes "
                f"pass top_k=1. Received: {temperature!r}"
            )
        if top_k is not None:
            top_k = check_integer("top_k", top_k)
        if top_p is not None and not 0 < top_p <= 1:
            raise ValueError(f"`top_p` must be in (0, 1]. Received: {top_p!r}")
        if not (0 <= guidance_scale < math.inf):
            raise ValueError(
                "`guidance_scale` must not be negative; 1 is no guidance. "
                f"Received: {guidance_scale!r}"
            )
        if guidance_scale != 1.0 and not prior.class_dropout:
            raise ValueError(
                "Guidance needs a class-conditional prior that was trained "
                "with `class_dropout`, so that it knows images without a "
                "class, too."
            )
        self.prior = prior
        self.guidance_scale = guidance_scale
        self._copies = 1 if guidance_scale == 1.0 else 2
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.keep_logits = keep_logits
        self._num_parameters = prior.count_params()

    def sample(
        self,
        draws,
        coarser=(),
        labels=None,
        forced=None,
        on_row=None,
        choose=None,
    ):
        """Codes of a batch.

        Args:
            draws: Float32 array `(batch, height, width)` in [0, 1), as of
                `uniform_draws`.
            coarser: Integer arrays, the given coarser maps.
            labels: Integer array `(batch,)`, for a class-conditional prior.
            forced: Integer array shaped as `draws`: codes to take instead of
                drawing, where not negative; or None.
            on_row: Function called with the number of finished rows, or None.
            choose: Function called after each row with its number and the
                float32 array `(batch,)` of the summed log-probabilities of
                its forced codes under the prior itself. It returns which
                images go on, integers `(batch,)`, or None for all as they
                are. See `Candidates`.

        Returns:
            Tuple of the int32 array `(batch, height, width)` of codes, the
            float32 array `(batch,)` of their log-probabilities under the
            prior itself (without temperature and truncation), and the logits
            `(batch, height, width, num_embeddings)` or None.
        """
        if forced is None:
            forced = np.full(draws.shape, -1, "int32")
        forced = np.asarray(forced, "int32")
        coarser = [np.asarray(x, "int32") for x in coarser]
        if labels is not None:
            labels = np.asarray(labels, "int32")
        positions = self._copies * len(draws) * self._positions_at_once
        with threads_for(positions * self._num_parameters):
            return self._sample(draws, coarser, labels, forced, on_row, choose)

    @abc.abstractmethod
    def _sample(self, draws, coarser, labels, forced, on_row, choose):
        """`sample` of arguments that are arrays."""

    def _with_copies(self, coarser, labels):
        """Guided images twice: the second time without a class."""
        if self._copies == 2:
            coarser = [np.concatenate([x, x]) for x in coarser]
            without = np.full_like(labels, self.prior.num_classes)
            labels = np.concatenate([labels, without])
        return coarser, labels

    def _guided(self, logits):
        """The images' own logits, and those that codes are drawn from."""
        guided = logits
        if self._copies == 2:
            logits, free = ops.split(logits, 2)
            guided = free + self.guidance_scale * (logits - free)
        return logits, truncate_logits(
            guided, self.temperature, self.top_k, self.top_p
        )

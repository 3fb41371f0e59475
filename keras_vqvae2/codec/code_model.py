"""What the codec needs to know of a saved model. Keras is not needed."""

import functools
import hashlib
import math

import numpy as np

from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.arrays import parse_arrays
from keras_vqvae2.codec.context_model import ContextModel
from keras_vqvae2.codec.range_coder import TOTAL
from keras_vqvae2.codec.range_coder import frequencies
from keras_vqvae2.hub.names import CONTEXT
from keras_vqvae2.hub.names import WEIGHTS
from keras_vqvae2.hub.store import load_snapshot
from keras_vqvae2.hub.weight_types import vqvae_types
from keras_vqvae2.levels import level_names
from keras_vqvae2.weights import read_weights


class CodeModel:
    """Name, sizes and probabilities of the model whose codes a file holds.

    Args:
        name: Name of the model.
        strides: Strides of the levels, finest first.
        num_embeddings: Codebook entries of each level.
        weights: Dict of NumPy arrays: all weights of the autoencoder by
            their names in `model.safetensors`.
        context: `ContextModel`, or None.
        revision: As for `ModelConfig`, for messages.

    Raises:
        ValueError: If weights or context model are not for these codes.
    """

    def __init__(
        self,
        name,
        strides,
        num_embeddings,
        weights,
        context=None,
        revision=1,
    ):
        self.name = name
        self.revision = revision
        self.strides = tuple(strides)
        self.num_embeddings = num_embeddings
        self.context = context
        self._digest = arrays_digest(weights)
        self._counts = [
            weights.get(f"quantizer_{level}/counts")
            for level in self.level_names
        ]
        for counts in self._counts:
            if counts is not None and counts.shape != (num_embeddings,):
                raise ValueError(
                    f"The counts of a codebook of {num_embeddings} codes must "
                    f"have one number each. Received shape {counts.shape}."
                )
        if context is not None and (
            context.strides != self.strides
            or context.num_embeddings != num_embeddings
        ):
            raise ValueError(
                f"The context model is for {context.num_embeddings} codes and "
                f"strides {context.strides}. {name} has {num_embeddings} and "
                f"{self.strides}."
            )

    @classmethod
    def from_pretrained(cls, name_or_path, **options):
        """That of a saved model.

        Args:
            name_or_path: As for `keras_vqvae2.from_pretrained`.
            **options: As well: `revision`, `token`, ...

        Raises:
            As `keras_vqvae2.from_pretrained`.
        """
        return load_snapshot(cls.from_snapshot, name_or_path, **options)

    @classmethod
    def from_snapshot(cls, snapshot):
        """That of a `hub.Snapshot`."""
        config = snapshot.config
        path = snapshot.path(WEIGHTS)
        weights = read_weights(path, vqvae_types(config.vqvae))
        return cls(
            config.name,
            config.vqvae.strides,
            config.vqvae.num_embeddings,
            weights,
            load_context(snapshot),
            config.revision,
        )

    @property
    def level_names(self):
        """Names of the code maps, coarse to fine."""
        return level_names(len(self.strides))

    @property
    def methods(self):
        """Methods of code files that there are probabilities for."""
        methods = ["raw"]
        if self.histograms is not None:
            methods.append("histogram")
        if self.context is not None:
            methods.append("context")
        return tuple(methods)

    @functools.cached_property
    def histograms(self):
        """`frequencies` of the codes of each level, `(num_embeddings,)`.

        From the codebooks' moving averages of how often each code is used;
        None for a codebook without, or not in use yet.
        """
        histograms = []
        for counts in self._counts:
            if (
                counts is None
                or not (np.isfinite(counts) & (counts >= 0)).all()
            ):
                return None
            counts = counts.astype("float64")
            # Rounded once, whatever the order of the sum.
            total = math.fsum(counts)
            if not total > 0:
                return None
            whole = np.floor(counts * (TOTAL / total))
            if not whole.any():
                return None
            histograms.append(frequencies(whole))
        return tuple(histograms)

    def fingerprint(self, method):
        """8 bytes that tell the model from others.

        Of the weights, and for the method "context" of the context model.
        """
        digest = self._digest
        if method == "context":
            digest += self.context.digest
        return hashlib.sha256(digest).digest()[:8]


def load_context(snapshot):
    """The `ContextModel` of a `hub.Snapshot`, None without."""
    config = snapshot.config
    if config.context is None:
        return None
    path = snapshot.path(CONTEXT)
    try:
        return ContextModel(
            config.context,
            config.vqvae.strides,
            config.vqvae.num_embeddings,
            parse_arrays(path.read_bytes()),
        )
    except ValueError as error:
        raise ValueError(f"{path} is not a context model: {error}") from error

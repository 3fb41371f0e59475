"""Codes whose decoded image is nearer than that of the nearest vectors."""

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.backend.gradients import compile_gradients
from keras_vqvae2.layers.nearest_codes import nearest_codes

MAX_STEPS = 1000
# Of an image: the gradients' memory is some hundred bytes a pixel.
MAX_PIXELS = 2**22
_BATCH_PIXELS = 2**19
# Neighbours that change together would each mend the same error.
_SHARE = 0.5
_LONGER, _SHORTER = 1.25, 0.5


class CodeSearch:
    """Search for the finest codes by the error of the decoded image.

    The encoder takes the vectors nearest to its own, which need not give the
    nearest image. A step moves the code vectors against the gradient of the
    image's squared error, takes the codes nearest to them for a random half of
    the places, and keeps these if the error of the image is lower; its length
    grows by a quarter after a success and is halved after a failure.

    No codes get worse by it. Coarser maps stay as they are.

    Source: in the spirit of latents optimized for each image (Campos et al.
    2019, https://arxiv.org/abs/1906.01223), here on codes.

    Args:
        vqvae: `HierarchicalVQVAE`.
    """

    def __init__(self, vqvae):
        self.vqvae = vqvae
        self._coarser = compile_function(vqvae, self._join_coarser)
        self._lookup = compile_function(vqvae, vqvae.quantizers[-1].lookup)
        self._evaluate = compile_gradients(vqvae, self._errors)
        self._propose = compile_function(vqvae, self._nearest)

    def __call__(self, images, codes, steps, seed=0):
        """Better codes.

        Args:
            images: uint8 array `(batch, height, width, channels)` that
                `check_search` lets pass.
            codes: Their codes, integer arrays, coarse to fine.
            steps: Number of steps.
            seed: Integer, fixes the random halves.

        Returns:
            Tuple of int32 arrays: the coarser maps as they came, and the
            finest.
        """
        at_once = max(_BATCH_PIXELS // (images.shape[1] * images.shape[2]), 1)
        finest = [
            self._search(
                images[start : start + at_once],
                [level[start : start + at_once] for level in codes],
                steps,
                # The same halves for each image, wherever it is in a batch.
                np.random.default_rng(seed),
            )
            for start in range(0, len(images), at_once)
        ]
        return (*codes[:-1], np.concatenate(finest))

    def _search(self, images, codes, steps, rng):
        images = np.asarray(images, "float32")
        *coarser, codes = codes
        joined = [self._coarser(*coarser)] if coarser else []

        def evaluate(codes):
            errors, gradients = self._evaluate(
                self._lookup(codes), images, *joined
            )
            return ops.convert_to_numpy(errors), ops.convert_to_numpy(gradients)

        errors, gradients = evaluate(codes)
        norms = np.square(gradients.astype("float64")).sum(-1).mean((1, 2))
        lengths = self._spacing() / np.maximum(norms**0.5, 1e-30)
        for _ in range(steps):
            moves = lengths[:, None, None, None] * gradients
            proposed = ops.convert_to_numpy(
                self._propose(codes, moves.astype("float32"))
            )
            chosen = rng.random(codes.shape[1:]) < _SHARE
            proposed = np.where(chosen, proposed, codes)
            new_errors, new_gradients = evaluate(proposed)
            better = new_errors < errors
            codes = np.where(better[:, None, None], proposed, codes)
            gradients = np.where(
                better[:, None, None, None], new_gradients, gradients
            )
            errors = np.where(better, new_errors, errors)
            lengths = lengths * np.where(better, _LONGER, _SHORTER)
        return codes.astype("int32")

    def _spacing(self):
        """Mean distance of a code to the next one."""
        codebook = ops.convert_to_numpy(self.vqvae.quantizers[-1].codebook)
        codebook = codebook.astype("float64")
        squares = np.sum(codebook**2, axis=-1)
        distances = squares[:, None] + squares - 2 * codebook @ codebook.T
        np.fill_diagonal(distances, np.inf)
        nearest = np.maximum(distances.min(axis=-1), 0)
        # A codebook of one has no next code.
        nearest = np.where(np.isfinite(nearest), nearest, 0.0)
        return float(np.sqrt(nearest).mean())

    def _join_coarser(self, *codes):
        vqvae = self.vqvae
        joined = vqvae._join_all(vqvae._lookup(codes))
        for upsample in vqvae.upsamples[len(codes) - 1]:
            joined = upsample(joined)
        return joined

    def _errors(self, vectors, images, joined=None):
        """Squared error of each image, `(batch,)`."""
        vqvae = self.vqvae
        if joined is not None:
            vectors = ops.concatenate([joined, vectors], axis=-1)
        pixels = vqvae._to_pixels(vqvae.decoders[-1](vectors))
        error = (ops.clip(pixels, 0.0, 255.0) - images) / 127.5
        return ops.sum(ops.square(error), axis=(1, 2, 3))

    def _nearest(self, codes, moves):
        quantizer = self.vqvae.quantizers[-1]
        codebook = ops.cast(quantizer.codebook, "float32")
        vectors = ops.take(codebook, codes, axis=0)
        vectors = vectors - ops.convert_to_tensor(moves)
        rows = ops.reshape(vectors, (-1, quantizer.embedding_dim))
        return ops.reshape(nearest_codes(rows, codebook), ops.shape(codes))


def check_search(steps, rate_weight, shape=None):
    """Raises unless a search is possible.

    Args:
        steps: `search_steps`.
        rate_weight: Of the same call.
        shape: Shape `(..., height, width, channels)` of the images, if known.

    Raises:
        ValueError: If the number of steps is out of range, they are asked for
            together with a rate weight, or the images are too large.
    """
    check_integer("search_steps", steps, minimum=0, maximum=MAX_STEPS)
    if not steps:
        return
    if rate_weight:
        raise ValueError(
            "`search_steps` and `rate_weight` choose codes by different rules: "
            f"use one of them. Received: {steps} and {rate_weight}"
        )
    if shape is not None and shape[-3] * shape[-2] > MAX_PIXELS:
        raise ValueError(
            f"`search_steps` is for images of up to {MAX_PIXELS} pixels. "
            f"Received: {shape[-3]} rows, {shape[-2]} columns"
        )

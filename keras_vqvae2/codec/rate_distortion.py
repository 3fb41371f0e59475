"""Codes that take fewer bits, near the nearest ones."""

import numpy as np

from keras_vqvae2.codec.range_coder import TOTAL


def cheapest_codes(vectors, codebook, coarser, rate_weight, model):
    """Codes of the lowest squared distance + weight x bits, one after another.

    As trellis quantization in JPEG, and entropy-constrained vector
    quantization (Chou, Lookabaugh and Gray, 1989), but greedy: what a code
    does to the bits of later ones is left out.

    Args:
        vectors: float array `(height, width, dim)`, of one image.
        codebook: float array `(num_embeddings, dim)`.
        coarser: Code maps `(height_i, width_i)` of the coarser levels, chosen
            already.
        rate_weight: Weight of a bit, in units of the mean squared distance of
            these vectors to their nearest codes.
        model: `CodeModel`; the bits are those of its best method.

    Returns:
        int32 array `(height, width)`.

    Raises:
        ValueError: If the model has no probabilities of codes.
    """
    if model.methods == ("raw",):
        raise ValueError(
            f"{model.name} has no probabilities of codes for `rate_weight`: "
            "train a context model."
        )
    height, width, _ = vectors.shape
    codebook = codebook.astype("float64")
    norms = np.sum(codebook**2, axis=-1)

    def squared_distances(some):
        """Less the vectors' own norms, which are the same for all codes."""
        return norms - 2 * some.astype("float64") @ codebook.T

    # Row by row: all at once take a gigabyte for a megapixel.
    nearest = sum(squared_distances(row).min(axis=-1).sum() for row in vectors)
    norm = sum(np.sum(row.astype("float64") ** 2) for row in vectors)
    mean = (nearest + norm) / (height * width)
    weight = rate_weight * max(mean, 1e-12)

    def choose(rows, columns, counts):
        cost = squared_distances(vectors[rows, columns])
        cost -= weight * np.log2((counts + 1) / TOTAL)
        return np.argmin(cost, axis=-1)

    if model.context is None:
        counts = model.histograms[len(coarser)]
        columns = np.arange(width)
        rows = [choose(row, columns, counts) for row in range(height)]
        return np.stack(rows).astype("int32")
    return model.context.scan_level(
        len(coarser),
        (height, width),
        coarser[-1] if coarser else None,
        choose,
        lambda scaled, rows, columns: np.floor(scaled),
    )

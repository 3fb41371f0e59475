"""Codes that take fewer bits, near the nearest ones."""

import numpy as np

from keras_vqvae2.codec.range_coder import TOTAL


def cheapest_codes(model, vectors, codebook, coarser, rate_weight):
    """Codes of the lowest squared distance + weight x bits, one after another.

    As trellis quantization in JPEG, and entropy-constrained vector
    quantization (Chou, Lookabaugh and Gray, 1989), but greedy: what a code
    does to the bits of later ones is left out.

    Args:
        model: `CodeModel`; the bits are those of its best method.
        vectors: float array `(height, width, dim)`, of one image.
        codebook: float array `(num_embeddings, dim)`.
        coarser: Code maps `(height_i, width_i)` of the coarser levels, chosen
            already.
        rate_weight: Weight of a bit, in units of the mean squared distance of
            these vectors to their nearest codes.

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
    shape = vectors.shape[:2]
    vectors = vectors.astype("float64")
    codebook = codebook.astype("float64")
    # Squared distances, less the vectors' own norms.
    distances = np.sum(codebook**2, axis=-1) - 2 * vectors @ codebook.T
    nearest = distances.min(axis=-1) + np.sum(vectors**2, axis=-1)
    weight = rate_weight * max(nearest.mean(), 1e-12)

    def choose(rows, columns, counts):
        bits = -np.log2((counts + 1) / TOTAL)
        return np.argmin(distances[rows, columns] + weight * bits, axis=-1)

    if model.context is None:
        rows, columns = np.indices(shape).reshape(2, -1)
        codes = choose(rows, columns, model.histograms[len(coarser)])
        return codes.reshape(shape).astype("int32")
    return model.context.scan_level(
        len(coarser),
        shape,
        coarser[-1] if coarser else None,
        choose,
        lambda scaled, rows, columns: np.floor(scaled),
    )

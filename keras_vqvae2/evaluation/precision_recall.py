import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.evaluation._checks import check_features


def precision_recall(real, generated, neighbors=3, block_size=2048):
    """Improved precision and recall of generated images.

    Precision is the share of generated images that lie within the real ones'
    manifold: no further from some real image than that one's nearest real
    neighbour of number `neighbors`. Recall is the same with both sets
    exchanged. Distances come in blocks: beside a copy of the features, the
    memory is that of a few blocks, however many images there are. Sums are in
    the features' own precision.

    Args:
        real: Array `(num_real, dim)` of features.
        generated: Array `(num_generated, dim)` of features. The paper takes
            as many as of the real images, 50 000.
        neighbors: Number of the neighbour that gives the radius.
        block_size: Images in a block.

    Returns:
        Tuple of precision and recall, in [0, 1].

    Raises:
        ValueError: If the numbers of features differ, a number is not finite,
            or there are no more than `neighbors` images in a set.

    Example:

    ```python
    features = np.random.normal(size=(50, 4))
    scores = keras_vqvae2.evaluation.precision_recall(features, features)
    assert scores == (1.0, 1.0)
    ```

    Source: Kynkaanniemi et al., "Improved precision and recall metric for
    assessing generative models", https://arxiv.org/abs/1904.06991.
    """
    check_integer("neighbors", neighbors)
    check_integer("block_size", block_size)
    real = check_features(real, neighbors + 1)
    generated = check_features(generated, neighbors + 1)
    if real.shape[1] != generated.shape[1]:
        raise ValueError(
            "Both sets need the same features. Received vectors of "
            f"{real.shape[1]} and {generated.shape[1]} numbers."
        )
    dtype = np.result_type(real, generated, "float32")
    # Squared distances lose fewer digits around the middle.
    middle = real.mean(axis=0, dtype="float64").astype(dtype)
    real = real.astype(dtype, copy=False) - middle
    generated = generated.astype(dtype, copy=False) - middle
    real_radii = _neighbor_distances(real, neighbors, block_size)
    generated_radii = _neighbor_distances(generated, neighbors, block_size)
    precise = np.zeros(len(generated), bool)
    recalled = np.zeros(len(real), bool)
    for i, rows in _blocks(real, block_size):
        for j, columns in _blocks(generated, block_size):
            distances = _squared_distances(rows, columns)
            inside = distances <= real_radii[i, None]
            precise[j] |= inside.any(axis=0)
            inside = distances <= generated_radii[j]
            recalled[i] |= inside.any(axis=1)
    return float(precise.mean()), float(recalled.mean())


def _blocks(vectors, size):
    for start in range(0, len(vectors), size):
        block = slice(start, min(start + size, len(vectors)))
        yield block, vectors[block]


def _squared_distances(a, b):
    distances = a @ (-2 * b).T
    distances += np.einsum("nd,nd->n", a, a)[:, None]
    distances += np.einsum("nd,nd->n", b, b)
    return distances


def _neighbor_distances(vectors, number, block_size):
    """Squared distance of each vector's neighbour of that number."""
    nearest = np.full((len(vectors), number), np.inf, vectors.dtype)
    blocks = list(_blocks(vectors, block_size))
    for first, (i, rows) in enumerate(blocks):
        for j, columns in blocks[first:]:
            distances = _squared_distances(rows, columns)
            if i == j:
                np.fill_diagonal(distances, np.inf)
            else:  # Distances are symmetric.
                _keep_nearest(nearest, j, distances.T)
            _keep_nearest(nearest, i, distances)
    return nearest.max(axis=1)


def _keep_nearest(nearest, rows, distances):
    number = nearest.shape[1]
    both = np.concatenate([nearest[rows], distances], axis=1)
    nearest[rows] = np.partition(both, number - 1, axis=1)[:, :number]

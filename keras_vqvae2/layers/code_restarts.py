"""Which codes are moved to vectors of the batch, and to which vectors."""

import keras
from keras import ops

from keras_vqvae2.backend.replicas import replica_count_and_id
from keras_vqvae2.backend.step_record import current_part


def draw_candidates(vectors, vectors_per_image, num_codes, seed_generator):
    """One vector of the whole batch for each code.

    All replicas and parts of the batch draw the same. Each returns the vectors
    that it has and zeros for the others: their sum holds all candidates.

    Args:
        vectors: Float tensor `(N, D)` of this replica and part.
        vectors_per_image: How many of them an image has.
        num_codes: Number of codes, K.
        seed_generator: Its seeds are the same in all replicas and parts.

    Returns:
        Tensor `(K, D)`.
    """
    num_vectors = ops.shape(vectors)[0]
    num_images = num_vectors // vectors_per_image
    num_replicas, replica_id = replica_count_and_id()
    part, num_parts = current_part()
    total = ops.cast(num_vectors * num_replicas * num_parts, "float32")
    # One draw from each K-th of the batch, cut between whole vectors, so that
    # no two are the same.
    edges = ops.floor(
        ops.arange(num_codes + 1, dtype="float32") * (total / num_codes)
    )
    draws = keras.random.uniform(
        (num_codes,), seed=seed_generator, dtype="float32"
    )
    indices = edges[:-1] + ops.floor(draws * (edges[1:] - edges[:-1]))
    indices = ops.cast(ops.minimum(indices, total - 1), "int32")
    if num_replicas * num_parts == 1:
        return ops.take(vectors, indices, axis=0)
    # A replica has the images that follow those of the replica before; a part
    # has every `num_parts`-th of them.
    image = indices // vectors_per_image
    image = image - replica_id * (num_images * num_parts)
    row = image // num_parts * vectors_per_image + indices % vectors_per_image
    mine = ops.logical_and(image >= 0, image < num_images * num_parts)
    mine = ops.logical_and(mine, image % num_parts == part)
    picked = ops.take(vectors, ops.clip(row, 0, num_vectors - 1), axis=0)
    return ops.where(mine[:, None], picked, ops.zeros_like(picked))


def usable(candidates):
    """Whether each candidate is finite, `(K,)`."""
    return ops.all(ops.isfinite(candidates), axis=-1)


def restarts(counts, empty, candidates, dead_code_threshold):
    """Decides which codes move to their candidates.

    Args:
        counts: Running counts of the codes, `(K,)`.
        empty: Scalar boolean: whether the codebook was never filled.
        candidates: Tensor `(K, D)`.
        dead_code_threshold: A code is dead if its count is below this share
            of the mean count.

    Returns:
        Tuple `(moved, new_count)`: booleans `(K,)`, and the count, a scalar,
        with which a moved code starts.
    """
    # In its first 50 to 200 steps a model uses few codes, the coarsest map
    # perhaps one: the encoder moves faster than moving averages follow, and
    # full counts take 180 steps and more until they are found dead. Counts
    # that start at 1% are found after 100. The codes then come back sooner
    # and are fewer later: on faces at 64x64, 50% instead of 73% of the top
    # codes in use after 400 steps, and 0.15 dB less.
    mean_count = ops.mean(counts)
    dead = counts < dead_code_threshold * mean_count
    # A moved code that nobody uses is dead again when its count has halved,
    # after 69 steps at a decay of 0.99: early in training, when the encoder
    # moves fast, it gets its next chance soon.
    share = ops.where(empty, 1.0, 2 * dead_code_threshold)
    moved = ops.logical_and(ops.logical_or(dead, empty), usable(candidates))
    return moved, share * mean_count

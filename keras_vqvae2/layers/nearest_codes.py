"""Nearest codebook vector of each input vector, in bounded memory."""

import keras
from keras import ops

# Distances held at a time, in float32: 4M are 16 MiB, which stays near the
# caches. Few rows make the matrix product itself inefficient: measured, 512
# are best on TensorFlow and too few on PyTorch.
_MAX_DISTANCES = 2**22
_MIN_ROWS = 512 if keras.backend.backend() == "tensorflow" else 2048


def _argmax_of_scores(rows, matrix, bias):
    """Argmax over the columns of `rows @ matrix + bias`, int32."""
    # `ops.argmax` first looks for negative zeros, to put them below others:
    # that breaks ties, and takes as long as the matrix product on TensorFlow
    # and PyTorch, which add the bias within the product if told so.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        scores = tf.nn.bias_add(tf.matmul(rows, matrix), bias)
        return tf.argmax(scores, axis=-1, output_type=tf.int32)
    if keras.backend.backend() == "torch":
        import torch

        scores = torch.addmm(bias, rows, matrix)
        return torch.argmax(scores, dim=-1).to(torch.int32)
    import jax

    # JAX multiplies float32 matrices in bfloat16 on TPUs and in TF32 on GPUs
    # unless told otherwise, which flips about 1% of the codes.
    with jax.default_matmul_precision("highest"):
        scores = jax.numpy.matmul(rows, matrix) + bias
    return jax.numpy.argmax(scores, axis=-1).astype("int32")


def _central_code(codebook):
    """A code `(D,)` in the midst of most, however far away the others are.

    The one nearest to a mean with weights 1 / distance^2, which starts as the
    plain mean. A share f of codes that lie L away moves the plain one by f * L;
    each round squares that, relative to L: it ends among the others for f up
    to 0.4. A median would do as well, but sorting takes longer than the search.
    A code and not the mean, so that vectors of few digits keep them exactly.
    """
    center = ops.mean(codebook, axis=0)
    for _ in range(4):
        squares = ops.sum(ops.square(codebook - center), axis=-1)  # (K,)
        least = ops.maximum(ops.min(squares), 1e-30)
        weights = least / ops.maximum(squares, least)
        total = ops.sum(weights[:, None] * codebook, axis=0)
        center = total / ops.sum(weights)
    squares = ops.sum(ops.square(codebook - center), axis=-1)
    return ops.take(codebook, ops.argmin(squares), axis=0)


def nearest_codes(vectors, codebook):
    """Index of the nearest codebook vector, equation 1 of VQ-VAE-2.

    Args:
        vectors: float32 tensor `(N, D)`.
        codebook: float32 tensor `(K, D)`.

    Returns:
        int32 tensor `(N,)`, the lowest index in case of a tie.
    """
    # Far from the origin the norms would swallow the distances' digits; from
    # among the codes they are about as small as they can be.
    center = _central_code(codebook)  # (D,)
    vectors = vectors - center
    codebook = codebook - center
    # argmin ||z - e||^2 = argmax z.e - ||e||^2 / 2: ||z||^2 is the same for
    # all codes.
    bias = -ops.sum(ops.square(codebook), axis=-1) / 2  # (K,)
    transposed = ops.transpose(codebook)  # (D, K)

    def nearest(rows):
        return _argmax_of_scores(rows, transposed, bias)

    num_codes, dim = codebook.shape
    chunk = max(_MIN_ROWS, _MAX_DISTANCES // num_codes)
    num_vectors = ops.shape(vectors)[0]
    if isinstance(num_vectors, int) and num_vectors <= chunk:
        return nearest(vectors)
    # In this form JAX sees, for a batch of unknown size too, that it divides.
    num_chunks = (num_vectors + chunk - 1) // chunk
    padding = num_chunks * chunk - num_vectors
    chunks = ops.reshape(
        ops.pad(vectors, [[0, padding], [0, 0]]), (num_chunks, chunk, dim)
    )
    codes = ops.map(nearest, chunks)  # (num_chunks, chunk)
    return ops.reshape(codes, (num_chunks * chunk,))[:num_vectors]

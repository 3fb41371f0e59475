"""Nearest codebook vector of each input vector, in bounded memory."""

import contextlib

import keras
from keras import ops

# Distances held at a time, in float32: 4M are 16 MiB, which stays near the
# caches. Few rows make the matrix product itself inefficient: measured, 512
# are best on TensorFlow and too few on PyTorch.
_MAX_DISTANCES = 2**22
_MIN_ROWS = 512 if keras.backend.backend() == "tensorflow" else 2048


def _float32_products():
    # JAX multiplies float32 matrices in bfloat16 on TPUs and in TF32 on GPUs
    # unless told otherwise, which flips about 1% of the codes.
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_matmul_precision("highest")
    return contextlib.nullcontext()


def _argmax_of_scores(rows, matrix, bias):
    """Argmax over the columns of `rows @ matrix + bias`, int32."""
    # `ops.argmax` first looks for negative zeros, which takes as long as the
    # matrix product on TensorFlow and PyTorch; and they add the bias within
    # the product if told so.
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        scores = tf.nn.bias_add(tf.matmul(rows, matrix), bias)
        return tf.argmax(scores, axis=-1, output_type=tf.int32)
    if keras.backend.backend() == "torch":
        import torch

        scores = torch.addmm(bias, rows, matrix)
        return torch.argmax(scores, dim=-1).to(torch.int32)
    with _float32_products():
        scores = ops.matmul(rows, matrix) + bias
    return ops.cast(ops.argmax(scores, axis=-1), "int32")


def nearest_codes(vectors, codebook):
    """Index of the nearest codebook vector, equation 1 of VQ-VAE-2.

    Args:
        vectors: float32 tensor `(N, D)`.
        codebook: float32 tensor `(K, D)`.

    Returns:
        int32 tensor `(N,)`, the lowest index in case of a tie.
    """
    # Far from the origin the norms would swallow the distances' digits; from
    # the codebook's mean they are as small as they can be.
    center = ops.mean(codebook, axis=0)  # (D,)
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

"""Random draws of codes: independent of the batch size and the backend."""

import numpy as np
from keras import ops


def uniform_draws(seed, images, size, level=0):
    """Draws that depend on the seed, the image's number and the position.

    Args:
        seed: Integer in `0 <= seed < 2**63`.
        images: Numbers of the images.
        size: `(height, width)` of the code map.
        level: Number of the level; each level has its own draws.

    Returns:
        Float32 array `(len(images), height, width)` in [0, 1).
    """
    draws = [
        np.random.Generator(
            np.random.Philox(
                key=np.array([seed, image], "uint64"),
                counter=np.array([0, 0, 0, level], "uint64"),
            )
        ).random(size)
        for image in images
    ]
    # Rounding up to 1 would be a draw that no code has.
    return np.minimum(draws, 1 - 2.0**-24).astype("float32")


def gumbel_noise(draws, num_codes):
    """Noise of which logits plus noise have their maximum at a random code.

    Args:
        draws: Array of `uniform_draws`, whose images' noise this is.
        num_codes: Number of codes.

    Returns:
        Float32 array `(len(draws), height, width, num_codes)`.
    """
    noise = []
    for image in draws:
        seeds = np.ascontiguousarray(image, "float32").view("uint32").ravel()
        generator = np.random.Generator(np.random.Philox(seeds))
        noise.append(generator.gumbel(size=(*image.shape, num_codes)))
    return np.stack(noise).astype("float32")


def truncate_logits(logits, temperature=1.0, top_k=None, top_p=None):
    """Logits of the distribution that is sampled from.

    Args:
        logits: Float tensor `(..., num_codes)`.
        temperature: Divides the logits.
        top_k: The number of most likely codes to keep, or None.
        top_p: Keep the most likely codes until their probabilities, after
            `temperature` and `top_k`, sum to this, or None.

    Returns:
        Tensor of the same shape; codes that are left out have -1e30.
    """
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        least = ops.top_k(logits, top_k)[0][..., -1:]
        logits = ops.where(logits < least, -1e30, logits)
    if top_p is not None and top_p < 1.0:
        probabilities = ops.softmax(logits, axis=-1)
        falling = -ops.sort(-probabilities, axis=-1)
        # Probability of all that are more likely, for each: the most likely
        # one is always kept.
        before = ops.cumsum(falling, axis=-1) - falling
        kept = ops.where(before < top_p, falling, 2.0)
        least = ops.min(kept, axis=-1, keepdims=True)
        logits = ops.where(probabilities < least, -1e30, logits)
    return logits


def draw_codes(logits, draws):
    """Codes of uniform draws, by the inverse of the cumulative sum.

    Args:
        logits: Float32 tensor `(batch, num_codes)`.
        draws: Float32 tensor `(batch,)` in [0, 1).

    Returns:
        Int32 tensor `(batch,)`.
    """
    cumulative = ops.cumsum(ops.softmax(logits, axis=-1), axis=-1)
    draws = ops.cast(draws, cumulative.dtype)
    # Its end, not 1: rounding must not lead beyond the last possible code.
    threshold = draws[:, None] * cumulative[:, -1:]
    below = ops.cast(cumulative <= threshold, "int32")
    return ops.sum(below, axis=-1)

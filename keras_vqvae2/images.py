"""NumPy functions of image arrays."""

import math

import numpy as np

from keras_vqvae2.arguments import check_integer


def pad_to_multiple(images, multiple):
    """Pads `(batch, height, width, channels)` at the lower and right edge.

    The padding mirrors the image, as often as it takes for a tiny one.
    """
    height, width = images.shape[1:3]
    if height % multiple == width % multiple == 0:
        return images
    pads = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
    return np.pad(images, pads, mode="symmetric")


def psnr(images, reconstructions):
    """Peak signal-to-noise ratio of each image, in dB.

    Args:
        images: Array `(batch, height, width, channels)`, pixels 0..255.
        reconstructions: Array of the same shape.

    Returns:
        float64 array `(batch,)`; infinite for an exact copy.

    Raises:
        ValueError: If the shapes differ.
    """
    images, reconstructions = np.asarray(images), np.asarray(reconstructions)
    if images.shape != reconstructions.shape:
        raise ValueError(
            "Images and reconstructions must have the same shape. Received "
            f"{images.shape} and {reconstructions.shape}."
        )
    # Row by row: float64 is many times as large as the images.
    squares = [
        sum(
            np.sum(np.subtract(ours, theirs, dtype="float64") ** 2)
            for ours, theirs in zip(image, reconstruction, strict=True)
        )
        for image, reconstruction in zip(images, reconstructions, strict=True)
    ]
    mse = np.array(squares) / math.prod(images.shape[1:])
    with np.errstate(divide="ignore"):
        return 10 * np.log10(255.0**2 / mse)


def batches_of(array, batch_size):
    """Parts of an array, of `batch_size` rows; the last may be shorter."""
    # Not above what a slice of a tensor can have.
    batch_size = min(check_integer("batch_size", batch_size), len(array) or 1)
    return [
        array[start : start + batch_size]
        for start in range(0, len(array), batch_size)
    ]

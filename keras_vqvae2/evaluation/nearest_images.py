import numpy as np


def nearest_images(samples, batches, number):
    """The nearest images to samples, in pixel space, of a large data set.

    Args:
        samples: uint8 array `(samples, height, width, channels)`.
        batches: Iterable of uint8 arrays `(batch, height, width, channels)`.
        number: Number of nearest images for each sample.

    Returns:
        Tuple of the uint8 array `(samples, number, height, width, channels)`,
        nearest first, and the float64 array `(samples, number)` of root mean
        squared errors, in pixel values.
    """
    flat = samples.reshape(len(samples), -1).astype("float32")
    images = errors = None
    for batch in batches:
        batch = np.asarray(batch)
        other = batch.reshape(len(batch), -1).astype("float32")
        found = np.stack([((other - x) ** 2).mean(axis=1) for x in flat])
        candidates = np.broadcast_to(batch, (len(samples), *batch.shape))
        if images is not None:
            found = np.concatenate([errors, found], axis=1)
            candidates = np.concatenate([images, candidates], axis=1)
        order = np.argsort(found, axis=1, kind="stable")[:, :number]
        rows = np.arange(len(samples))[:, None]
        images, errors = candidates[rows, order], found[rows, order]
    return images, np.sqrt(errors.astype("float64"))

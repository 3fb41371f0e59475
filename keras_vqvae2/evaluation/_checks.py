import numpy as np


def check_features(features, minimum=1):
    """The array of feature vectors; raises ValueError unless it is one."""
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1]:
        raise ValueError(
            "Features must have shape (images, dim). Received shape "
            f"{features.shape}."
        )
    if len(features) < minimum:
        raise ValueError(
            f"At least {minimum} images are needed. Received: {len(features)}"
        )
    if not np.isfinite(features).all():
        raise ValueError(
            "Features must be finite. Received NaN or infinity in "
            f"{int((~np.isfinite(features)).any(axis=1).sum())} of "
            f"{len(features)} vectors."
        )
    return features


def check_images(images, labels=None, minimum=1):
    """Raises ValueError unless these are uint8 images, and labels of them."""
    if images.ndim != 4 or images.dtype != np.uint8:
        raise ValueError(
            "Images must be a uint8 array (images, height, width, channels). "
            f"Received {images.dtype} of shape {images.shape}."
        )
    if len(images) < minimum:
        raise ValueError(
            f"At least {minimum} images are needed. Received: {len(images)}"
        )
    if labels is not None and labels.shape != images.shape[:1]:
        raise ValueError(
            "There must be one label for each image. Received "
            f"{len(images)} images and labels of shape {labels.shape}."
        )

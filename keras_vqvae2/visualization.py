"""Images that show what a model does."""

import numpy as np
from PIL import Image

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.files import atomic_path

matplotlib = LazyModule("matplotlib")

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_GAP = 4


def image_grid(rows, gap=_GAP):
    """Joins rows of images of the same size into one image.

    Args:
        rows: Sequence of sequences of uint8 arrays `(height, width, 3)`.
        gap: White pixels between images.

    Returns:
        uint8 array `(rows * height + gaps, columns * width + gaps, 3)`.

    Example:

    ```python
    image = np.zeros((8, 6, 3), "uint8")
    picture = keras_vqvae2.visualization.image_grid([[image, image]], gap=4)
    assert picture.shape == (8, 16, 3)
    ```
    """
    height, width, channels = rows[0][0].shape
    columns = max(map(len, rows))
    picture = np.full(
        (
            len(rows) * (height + gap) - gap,
            columns * (width + gap) - gap,
            channels,
        ),
        255,
        "uint8",
    )
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            top, left = i * (height + gap), j * (width + gap)
            picture[top : top + height, left : left + width] = image
    return picture


def figure3(model, images, batch_size=8):
    """Originals beside their reconstructions from 1, 2, ... code maps.

    As figure 3 of VQ-VAE-2: one row per image, the original first, then the
    reconstruction from the top map alone, and so on to all maps.

    Args:
        model: `VQVAE2`.
        images: uint8 array `(batch, height, width, 3)`, any size.
        batch_size: Images at a time.

    Returns:
        uint8 array `(height, width, 3)`.
    """
    columns = [images]
    for levels in range(1, model.vqvae.num_levels + 1):
        columns.append(
            model.reconstruct(images, levels=levels, batch_size=batch_size)
        )
    return image_grid(list(zip(*columns, strict=True)))


def heat_map(values, high):
    """Colours of a map of numbers: black at 0, then violet, orange, yellow.

    Args:
        values: Float array `(height, width)`.
        high: The number from which on it is the brightest.

    Returns:
        uint8 array `(height, width, 3)`.
    """
    colours = matplotlib.colormaps["inferno"]
    return colours(np.clip(values / high, 0, 1), bytes=True)[..., :3]


def save_image(path, image):
    """Writes an image file atomically; its extension sets the format.

    Args:
        path: Path that ends in `.png`, `.jpg`, `.jpeg` or `.webp`.
        image: uint8 array `(height, width, 3)`.

    Raises:
        ValueError: If the extension is none of these.
    """
    if not str(path).lower().endswith(SUFFIXES):
        raise ValueError(
            f"The name of an image file must end in .png, .jpg, .jpeg or "
            f".webp. Received: {path}"
        )
    with atomic_path(path) as temporary:
        Image.fromarray(np.asarray(image)).save(temporary)

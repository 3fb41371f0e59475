"""Photographs of strangers, beside what other formats make of them."""

import functools
import io
import pathlib

import numpy as np
from PIL import Image

from keras_vqvae2.data.image_file import load_image_bytes
from keras_vqvae2.images import psnr

# As slow and as small as Pillow writes them.
FORMATS = {
    "JPEG": {"optimize": True, "progressive": True},
    "WebP": {"method": 6},
}
# Larger photographs are made smaller: a page should answer in seconds.
MAX_SIDE = 1024


def load_photo(path):
    """An uploaded photograph, at most `MAX_SIDE` pixels on its longer side.

    Args:
        path: Path of an image file, as for `data.load_image`. Errors name
            the file alone, not the folder where a server keeps it.

    Returns:
        uint8 array `(height, width, 3)`.

    Raises:
        ValueError: If it is none, or damaged.
    """
    path = pathlib.Path(path)
    image = Image.fromarray(load_image_bytes(path.read_bytes(), path.name))
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    return np.asarray(image)


def center(image, size, resample=Image.Resampling.LANCZOS):
    """The center of an image, as much as has a size's shape, scaled to it.

    Args:
        image: uint8 array `(height, width, 3)` or `(height, width)`.
        size: `(height, width)` of the result.
        resample: Pillow's filter.

    Returns:
        uint8 array of this size.
    """
    # Pillow's `fit` would mix in what lies beside the part.
    scale = min(image.shape[0] / size[0], image.shape[1] / size[1])
    height, width = (max(1, round(side * scale)) for side in size)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    part = image[top : top + height, left : left + width]
    return np.asarray(Image.fromarray(part).resize(size[::-1], resample))


def enlarged(image, least=256):
    """A small image, several times as large, for people to look at."""
    factor = -(-least // max(image.shape[:2]))
    size = image.shape[1] * factor, image.shape[0] * factor
    return np.asarray(
        Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    )


def compare(image, num_bytes, quality):
    """What other formats make of an image, at equal bytes and equal quality.

    Args:
        image: uint8 array `(height, width, 3)`.
        num_bytes: Size of our file.
        quality: PSNR of our reconstruction, in dB.

    Returns:
        List of tuples `(name, bytes, PSNR)`: for each of `FORMATS` the best
        file of at most `num_bytes`, if there is one, and the smallest of at
        least our quality, if there is one.
    """
    rows = []
    for name in FORMATS:
        encode = functools.cache(functools.partial(_encode, image, name))
        fitting = _last(lambda q, encode=encode: encode(q)[0] <= num_bytes)
        if fitting is not None:
            rows.append((f"{name}, at most as many bytes", *encode(fitting)))
        below = _last(lambda q, encode=encode: encode(q)[1] < quality)
        enough = 0 if below is None else below + 1
        if enough <= _BEST:
            rows.append((f"{name}, at least this quality", *encode(enough)))
    return rows


_BEST = 95  # Above, files of JPEG grow and hardly become better.


def _last(holds):
    """The last of the qualities 0..`_BEST` for which `holds`, or None.

    Bytes and PSNR grow with the quality, so that it is found by halving.
    """
    low, high = 0, _BEST
    while low <= high:
        middle = (low + high) // 2
        if holds(middle):
            low = middle + 1
        else:
            high = middle - 1
    return high if high >= 0 else None


def _encode(image, name, quality):
    """`(bytes, PSNR)` of an image in another format."""
    file = io.BytesIO()
    options = FORMATS[name]
    Image.fromarray(image).save(file, name, quality=quality, **options)
    with Image.open(file) as decoded:
        pixels = np.asarray(decoded.convert("RGB"))
    return len(file.getvalue()), float(psnr(image[None], pixels[None])[0])

import io
import os

import numpy as np
from PIL import ExifTags
from PIL import Image
from PIL import ImageOps

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.files import open_regular

cbook = LazyModule("matplotlib.cbook")

# A closed list: Pillow's other decoders stay out of reach of files that come
# from strangers.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
# Rows that are copied at a time.
_STRIP = 256


def load_image(path, shorter_side=None):
    """Reads a JPEG, PNG, WebP, BMP or TIFF file as an RGB image.

    EXIF orientation is applied. Greyscale, palette and CMYK images are
    converted to RGB, 16-bit values keep their high byte, transparent images
    are composited over white, and an animation gives its first frame. A photo
    of 640 by 480 pixels becomes an array of shape `(480, 640, 3)`.

    Args:
        path: Path of the file.
        shorter_side: Length that the shorter side will be resized to, or None.
            JPEG files of twice that and more are decoded at a half, a quarter
            or an eighth of their size, but not below that length: a fraction
            of the work.

    Returns:
        uint8 array `(height, width, 3)`, values 0..255.

    Raises:
        ValueError: If the file is truncated or damaged, is not a JPEG, PNG,
            WebP, BMP or TIFF image, or has so many pixels that it looks like a
            decompression bomb (Pillow's limit: twice
            `PIL.Image.MAX_IMAGE_PIXELS`).
        OSError: If the file cannot be opened, as `open` raises it, or is not a
            regular file.

    Example:

    ```python
    image = keras_vqvae2.data.load_image(photos / "cats" / "0.png")
    assert image.shape == (96, 128, 3)
    ```
    """
    with open_regular(path) as file:
        return _read_image(file, os.fsdecode(path), shorter_side)


def sample_photograph():
    """Path of the photograph that comes with matplotlib."""
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return file.name


def load_image_bytes(contents, name, shorter_side=None):
    """Reads an encoded image from memory, as `load_image` reads a file."""
    return _read_image(io.BytesIO(contents), name, shorter_side)


def _read_image(file, name, shorter_side):
    try:
        with Image.open(file, formats=FORMATS) as image:
            if shorter_side is not None:
                image.draft(None, (shorter_side, shorter_side))
            image.load()
            pixels = _pixels(_to_rgb(_upright(image)))
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            # Of some PNG files that are cut short, `load` gives what is left.
            image.verify()
        return pixels
    # Pillow has no common error: a broken file can raise OSError, SyntaxError,
    # struct.error, zlib.error and more.
    except Exception as error:
        raise ValueError(
            f"{name} could not be read as a JPEG, PNG, WebP, BMP or TIFF "
            f"image: {error}. "
            "Restore the file from its source or remove it."
        ) from error


def _upright(image):
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            # `exif_transpose` would copy what may be a gigabyte.
            return image
        return ImageOps.exif_transpose(image)
    # Cameras write broken EXIF blocks around sound pixels.
    except Exception:
        return image


def _to_rgb(image):
    if image.mode.startswith("I"):
        # `convert` would clip 16-bit values at 255. The high byte is also what
        # Pillow itself keeps of 16-bit RGB.
        grey = np.asarray(image) >> 8
        image = Image.fromarray(grey.astype("uint8"))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image):
    # By strips: `np.array(image)` needs twice the memory of the array.
    pixels = np.empty((image.height, image.width, 3), "uint8")
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        pixels[top:bottom] = image.crop((0, top, image.width, bottom))
    return pixels

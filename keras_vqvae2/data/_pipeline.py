"""The steps that every image data set shares, as TensorFlow graphs."""

import os
import warnings

import keras
import tensorflow as tf
from PIL import Image

from keras_vqvae2.data.image_file import load_image
from keras_vqvae2.data.image_file import load_image_bytes

# What makes Pillow turn an image or blend it: EXIF or XMP orientation, and
# PNG's transparent colour. `\C` is any byte; `.` stops at invalid UTF-8.
NOT_PLAIN = r"\C*(?i:exif|tiff:orientation|trns)\C*"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def leave_gpu_alone():
    """Keep TensorFlow off the GPU where it only feeds JAX or PyTorch."""
    if keras.config.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")
        # The caller has used TensorFlow on the GPU already.
        except RuntimeError:
            pass


class Decoder:
    """Decode images in the graph: `decoder(path)` or `decoder(id, contents)`.

    Ordinary JPEG and PNG files are decoded by TensorFlow, without Python's
    lock. Whatever needs more care, or fails there, goes to Pillow. Returns
    uint8 of shape (height, width, 3), or (0, 0, 3) with a warning, once per
    file, where there is no image to be had.
    """

    def __init__(self):
        self._warned = set()

    def __call__(self, name, contents=None):
        # Only a data set can catch an error inside the graph. The second one
        # is not started unless the first has come to nothing.
        sample = (name,) if contents is None else (name, contents)
        source = tf.data.Dataset.from_tensors(sample)
        native = source.map(self._native).ignore_errors()
        return (
            native.concatenate(source.map(self._fallback))
            .take(1)
            .get_single_element()
        )

    def _native(self, name, contents=None):
        if contents is None:
            contents = tf.io.read_file(name)
        return decode_plain(contents)

    def _fallback(self, *sample):
        image = tf.numpy_function(self._pillow, sample, tf.uint8)
        image.set_shape((None, None, 3))
        return image

    def _pillow(self, name, contents=None):
        try:
            if contents is None:
                return load_image(name)
            return load_image_bytes(contents, os.fsdecode(name))
        except (OSError, ValueError) as error:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"Skipped an image: {error}", stacklevel=2)
            return tf.zeros((0, 0, 3), tf.uint8).numpy()


def decode_plain(contents):
    """Decode an ordinary JPEG or PNG as Pillow would; fail on any other."""
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: _decode_plain_jpeg(contents),
        lambda: _decode_plain_png(contents),
    )


def _decode_plain_jpeg(contents):
    height, width, channels = tf.unstack(tf.io.extract_jpeg_shape(contents))
    plain = (
        (channels != 4)
        # TensorFlow forgives a missing end that Pillow does not.
        & (tf.strings.substr(contents, -2, 2) == b"\xff\xd9")
        & _has_plain_pixels(contents, height, width)
    )
    with tf.control_dependencies([tf.debugging.Assert(plain, ["not plain"])]):
        return tf.io.decode_jpeg(
            contents, channels=3, dct_method="INTEGER_ACCURATE"
        )


def _decode_plain_png(contents):
    # IHDR, at a fixed place: width, height, bit depth and colour type. Eight
    # bits of grey (0) or RGB (2) are plain.
    size = tf.io.decode_raw(
        tf.strings.substr(contents, 16, 8), tf.int32, little_endian=False
    )
    kind = tf.strings.substr(contents, 24, 2)
    plain = (
        (tf.strings.substr(contents, 0, 8) == PNG_SIGNATURE)
        & ((kind == b"\x08\x00") | (kind == b"\x08\x02"))
        & _has_plain_pixels(contents, size[1], size[0])
    )
    with tf.control_dependencies([tf.debugging.Assert(plain, ["not plain"])]):
        return tf.io.decode_png(contents, channels=3)


def _has_plain_pixels(contents, height, width):
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    limit = Image.MAX_IMAGE_PIXELS or tf.int64.max
    return (pixels <= limit) & ~tf.strings.regex_full_match(contents, NOT_PLAIN)


def random_crop(image, image_size, resize, flip, seed, index):
    """Cut a square whose place depends on nothing but (seed, index)."""
    draws = tf.random.stateless_uniform(
        (3,), tf.stack([seed, index]), dtype=tf.float64, alg="philox"
    )
    image = _crop(image, image_size, resize, draws[:2])
    if not flip:
        return image
    # `image[:, ::-1]` takes eight times as long.
    return tf.cond(
        draws[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image
    )


def center_crop(image, image_size, resize):
    """Cut the square in the middle."""
    return _crop(image, image_size, resize, None)


def _crop(image, image_size, resize, draws):
    # The window is cut first and then brought to size: the same picture as
    # resizing first, without the memory for a panorama that is resized whole.
    sides = tf.shape(image)[:2]
    shorter = tf.reduce_min(sides)
    window = tf.minimum(shorter, image_size)
    if resize is not None:
        window = tf.cast(
            tf.round(tf.cast(shorter, tf.float64) * image_size / resize),
            tf.int32,
        )
        window = tf.maximum(window, 1)
    spare = sides - window
    if draws is None:
        top, left = tf.unstack(spare // 2)
    else:
        spots = tf.cast(spare + 1, tf.float64)
        top, left = tf.unstack(tf.cast(draws * spots, tf.int32))
    image = image[top : top + window, left : left + window]
    image = tf.cond(
        window == image_size, lambda: image, lambda: _resize(image, image_size)
    )
    image.set_shape((image_size, image_size, 3))
    return image


def _resize(image, image_size):
    image = tf.image.resize(
        image, (image_size, image_size), method="bicubic", antialias=True
    )
    return tf.saturate_cast(tf.round(image), tf.uint8)


def is_image(image):
    """Whether the decoder found one."""
    return tf.size(image) > 0


def with_options(dataset):
    """Keep the order whatever the parallelism, and read ahead."""
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)

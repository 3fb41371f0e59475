"""Steps that all image data sets share, as TensorFlow graphs."""

import functools
import os
import warnings

import keras
from PIL import Image

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data.image_file import load_image
from keras_vqvae2.data.image_file import load_image_bytes

tf = LazyModule("tensorflow")

# What makes Pillow turn an image or blend it: EXIF or XMP orientation, and
# PNG's transparent colour. `\C` is any byte; `.` stops at invalid UTF-8.
NOT_PLAIN = r"\C*(?i:exif|tiff:orientation|trns)\C*"
# So many unreadable images in a row are a broken source, not a few bad ones.
MAX_SUBSTITUTES = 100
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def leave_gpu_alone():
    """Hides GPUs from TensorFlow where it only feeds JAX or PyTorch."""
    if keras.config.backend() != "tensorflow":
        try:
            tf.config.set_visible_devices([], "GPU")
        # The caller has used TensorFlow on the GPU already.
        except RuntimeError:
            pass


class Decoder:
    """Decodes images in the graph: `decoder(path)` or `decoder(id, contents)`.

    Ordinary JPEG and PNG files are decoded by TensorFlow, without Python's
    lock. Whatever needs more care, or fails there, goes to Pillow. Returns
    uint8 of shape (height, width, 3), or (0, 0, 3) for an unreadable image,
    with one warning per file.

    Args:
        shorter_side: Length that the shorter side will be resized to, or None.
            JPEG files of twice that and more are decoded at a half, a quarter
            or an eighth of their size, but not below that length: a fraction
            of the work.
    """

    def __init__(self, shorter_side=None):
        self._shorter_side = shorter_side
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
        return decode_plain(contents, self._shorter_side)

    def _fallback(self, *sample):
        image = tf.numpy_function(self._pillow, sample, tf.uint8)
        image.set_shape((None, None, 3))
        return image

    def _pillow(self, name, contents=None):
        try:
            if contents is None:
                return load_image(name, self._shorter_side)
            return load_image_bytes(
                contents, os.fsdecode(name), self._shorter_side
            )
        except (OSError, ValueError) as error:
            if name not in self._warned:
                self._warned.add(name)
                warnings.warn(f"Skipped an image: {error}", stacklevel=2)
            return tf.zeros((0, 0, 3), tf.uint8).numpy()


def decode_plain(contents, shorter_side=None):
    """Decodes an ordinary JPEG or PNG as Pillow would; fails on any other."""
    return tf.cond(
        tf.io.is_jpeg(contents),
        lambda: _decode_plain_jpeg(contents, shorter_side),
        lambda: _decode_plain_png(contents),
    )


def _decode_plain_jpeg(contents, shorter_side):
    height, width, channels = tf.unstack(tf.io.extract_jpeg_shape(contents))
    plain = (
        (channels != 4)
        # TensorFlow forgives a missing end that Pillow does not.
        & (tf.strings.substr(contents, -2, 2) == b"\xff\xd9")
        & _has_plain_pixels(contents, height, width)
    )

    def decoded(ratio):
        return tf.io.decode_jpeg(
            contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
        )

    with tf.control_dependencies([tf.debugging.Assert(plain, ["not plain"])]):
        if shorter_side is None:
            return decoded(1)
        scale = tf.minimum(height, width) // shorter_side
        return tf.case(
            [
                (scale >= ratio, functools.partial(decoded, ratio))
                for ratio in (8, 4, 2)  # what JPEG's transform can do
            ],
            functools.partial(decoded, 1),
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
        # TensorFlow forgives a missing end.
        & (tf.strings.substr(contents, -len(PNG_END), len(PNG_END)) == PNG_END)
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
    """Crops a square at a position that depends on (seed, index) only."""
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
    """Crops the square in the center."""
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
    """Whether the decoder could read the image."""
    return tf.size(image) > 0


def with_options(dataset):
    """Deterministic order under any parallelism, and prefetching."""
    options = tf.data.Options()
    options.deterministic = True
    return dataset.with_options(options).prefetch(tf.data.AUTOTUNE)


def indexed_dataset(
    load,
    size,
    what,
    image_size,
    batch_size,
    *,
    training,
    seed,
    start_step,
    resize,
    flip,
    targets,
    drop_remainder,
    shard,
    describe,
):
    """Batches of images that can be read in any order.

    Args:
        load: Function of an index, a scalar tensor, that returns a uint8 image
            or one without pixels.
        size: Number of images.
        what: What they are, for a message.
        targets: Label of each, or None.
        describe: Function of an index that returns its name, for a message.
        image_size, batch_size, training, seed, start_step, resize, flip,
            drop_remainder, shard: As for `image_folder_dataset`.
    """
    leave_gpu_alone()
    index, count = shard
    length = size
    if not training and drop_remainder:
        if batch_size > size:
            raise ValueError(
                f"batch_size={batch_size} with drop_remainder=True leaves "
                f"nothing of the {size} {what}. Pass a smaller batch_size or "
                "drop_remainder=False."
            )
        # Cut before the images are dealt out: as many batches for each worker.
        length = size // batch_size * batch_size
    attempts = min(size, MAX_SUBSTITUTES)
    seed = tf.constant(seed, tf.int64)

    def train_sample(step_index):
        epoch, position = step_index // size, step_index % size

        def look_up(attempt):
            number = tf.random.experimental.index_shuffle(
                (position + attempt) % size,
                tf.stack([seed, epoch]),
                tf.constant(size - 1, tf.int64),
            )
            return attempt + 1, number, load(number)

        # The loop's body runs only for a number that holds no image.
        _, number, image = tf.while_loop(
            lambda attempt, _, image: (attempt < attempts) & ~is_image(image),
            lambda attempt, *_: look_up(attempt),
            look_up(tf.constant(0, tf.int64)),
        )
        found = tf.debugging.Assert(
            is_image(image),
            [
                f"No image in {attempts} files in a row; the last was",
                describe(number),
            ],
        )
        with tf.control_dependencies([found]):
            image = random_crop(
                image, image_size, resize, flip, seed, step_index
            )
        return with_label(image, number)

    def validation_sample(image, number):
        return with_label(center_crop(image, image_size, resize), number)

    def with_label(image, number):
        return image if targets is None else (image, tf.gather(targets, number))

    if training:
        dataset = tf.data.Dataset.counter(
            start_step * batch_size + index, step=count
        ).map(train_sample, tf.data.AUTOTUNE)
    else:
        dataset = (
            tf.data.Dataset.range(index, length, count)
            .map(lambda number: (load(number), number), tf.data.AUTOTUNE)
            .filter(lambda image, _: is_image(image))
            .map(validation_sample, tf.data.AUTOTUNE)
        )
    dataset = dataset.batch(batch_size // count, training or drop_remainder)
    return with_options(dataset)

import os
import struct

import numpy as np

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import _pipeline
from keras_vqvae2.data._arguments import check_arguments

tf = LazyModule("tensorflow")

# Around each record: its length and a check sum of it, a check sum of it.
_HEADER, _FOOTER = 12, 4


def tfrecord_dataset(
    path,
    image_size,
    batch_size,
    *,
    training=True,
    seed=0,
    start_step=0,
    resize=None,
    flip=True,
    drop_remainder=False,
    shard=(0, 1),
):
    """Batches of square images from TFRecords of raw pixels.

    NVlabs distributes FFHQ in this format (`ffhq-r10.tfrecords` at 1024x1024):
    a feature `"shape"`, `(channels, height, width)`, and a feature `"data"`,
    the uint8 pixels, channels first. Batches are as for
    `image_folder_dataset`. Records are located by their offset in the file, so
    shuffling, shards and `start_step` read nothing that they do not need.

    With `image_size=1024` and `batch_size=8`, a batch has the shape
    `(8, 1024, 1024, 3)`.

    Args:
        path: Path of a file, or a list of paths that are read as one file.
        image_size: Height and width of the crops, in pixels.
        batch_size: Number of images in a batch, over all workers.
        training: Whether to shuffle, crop randomly and repeat forever.
        seed: Integer in `0 <= seed < 2**63`. The same seed gives the same
            batches.
        start_step: Index of the first training batch.
        resize: Length in pixels to which the shorter side is resized before
            cropping, or None to crop at the image's own resolution.
        flip: Whether training images are flipped horizontally with probability
            0.5.
        drop_remainder: Whether validation drops a last, smaller batch.
        shard: `(index, count)`: worker `index` gets every `count`-th image of
            each batch, starting at `index`.

    Returns:
        A `tf.data.Dataset` of `uint8` images of shape
        `(batch_size / count, image_size, image_size, 3)`, values 0..255.

    Raises:
        ValueError: If an argument is out of range, or a file is missing,
            truncated, or has no records of such images.

    Example (not run: it needs FFHQ):

    ```
    train = tfrecord_dataset("ffhq-r10.tfrecords", 1024, 128)
    model.fit(train, steps_per_epoch=500)
    ```
    """
    check_arguments(
        image_size, batch_size, seed, start_step, resize, shard, training
    )
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    paths = [os.fspath(name) for name in paths]
    parts = [_find_records(name) for name in paths]

    _pipeline.leave_gpu_alone()
    files = tf.constant(paths)
    sizes = tf.constant([os.path.getsize(name) for name in paths], tf.int64)
    places = np.concatenate(
        [
            np.insert(records, 0, number, axis=1)
            for number, records in enumerate(parts)
        ]
    )
    places = tf.constant(places, tf.int64)  # (N, 3): file, offset, length

    def load(number):
        file, offset, length = tf.unstack(places[number])
        record = tf.data.FixedLengthRecordDataset(
            files[file], length, offset, sizes[file] - offset - length
        ).get_single_element()
        return parse(record)

    def parse(record):
        example = tf.io.parse_single_example(
            record,
            {
                "shape": tf.io.FixedLenFeature((3,), tf.int64),
                "data": tf.io.FixedLenFeature((), tf.string),
            },
        )
        pixels = tf.io.decode_raw(example["data"], tf.uint8)
        pixels = tf.reshape(pixels, example["shape"])  # (C, H, W)
        return tf.ensure_shape(tf.transpose(pixels, (1, 2, 0)), (None, None, 3))

    try:
        load(tf.constant(0, tf.int64))
    except (tf.errors.OpError, ValueError) as error:
        raise ValueError(
            f"{paths[0]} has no records of RGB images with the features "
            '"shape" and "data".'
        ) from error
    return _pipeline.indexed_dataset(
        load,
        len(places),
        f"images in {', '.join(paths)}",
        image_size,
        batch_size,
        training=training,
        seed=seed,
        start_step=start_step,
        resize=resize,
        flip=flip,
        targets=None,
        drop_remainder=drop_remainder,
        shard=shard,
        describe=tf.strings.as_string,
    )


def _find_records(path):
    """Offset and length of each record of a file, `(N, 2)`."""
    if not os.path.isfile(path):
        raise ValueError(f"There is no file {path}. Pass a TFRecord file.")
    size = os.path.getsize(path)
    records = []
    place = 0
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            header = file.read(8)
            length = struct.unpack("<Q", header)[0] if len(header) == 8 else 0
            end = place + _HEADER + length + _FOOTER
            if not length or end > size:
                raise ValueError(
                    f"{path} is cut short or no TFRecord file: record "
                    f"{len(records)} does not end in it."
                )
            records.append((place + _HEADER, length))
            place = end
    if not records:
        raise ValueError(f"{path} is empty.")
    return np.array(records, "int64")

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import _pipeline
from keras_vqvae2.data._arguments import check_arguments

tf = LazyModule("tensorflow")
tfds = LazyModule("tensorflow_datasets")


def tfds_dataset(
    name,
    image_size,
    batch_size,
    *,
    split="train",
    training=True,
    seed=0,
    start_step=0,
    resize=None,
    flip=True,
    labels=False,
    drop_remainder=False,
    shard=(0, 1),
    shuffle_buffer=4096,
    data_dir=None,
    download=False,
):
    """Batches of square images from a TensorFlow Datasets (TFDS) name.

    As `image_folder_dataset`, for any TFDS data set with an 8-bit or 16-bit
    feature `"image"`. With `training=True` the dataset is infinite, and
    each epoch has a new order: the split's files are shuffled, then the
    examples within a window of `shuffle_buffer`. `start_step=k` gives batch `k`
    of an unbroken run; it skips the earlier examples of that epoch without
    decoding them.

    With `image_size=256` and `batch_size=32`, a batch has the shape
    `(32, 256, 256, 3)`. A warning names each example that is not a readable
    image. In training another image of its batch takes its place; in validation
    it is skipped.

    Args:
        name: TFDS name of the data set, such as `"imagenet2012"` or
            `"cifar10:3.0.2"`.
        image_size: Height and width of the crops, in pixels.
        batch_size: Number of images in a batch, over all workers.
        split: TFDS name of the split, such as `"train"` or `"train[:90%]"`.
        training: Whether to shuffle, crop randomly and repeat forever.
        seed: Integer in `0 <= seed < 2**63`. The same seed gives the same
            batches.
        start_step: Index of the first training batch.
        resize: Length in pixels to which the shorter side is resized before
            cropping, or None to crop at the image's own resolution. An image
            smaller than the crop is always enlarged. Large JPEG files are
            decoded as in `image_folder_dataset`.
        flip: Whether training images are flipped horizontally with probability
            0.5.
        labels: Whether to return the feature `"label"` too.
        drop_remainder: Whether validation drops a last, smaller batch.
            Training has none.
        shard: `(index, count)`: worker `index` gets every `count`-th image of
            each batch, starting at `index`.
        shuffle_buffer: Number of encoded examples held for shuffling.
        data_dir: Folder where TFDS keeps its data, or None for its default.
        download: Whether TFDS may download and prepare a missing data set. It
            shows its progress.

    Returns:
        A `tf.data.Dataset` of `uint8` images of shape
        `(batch_size / count, image_size, image_size, 3)`, values 0..255; with
        labels, of pairs `(images, labels)`, the labels `int32` of shape
        `(batch_size / count,)`.

    Raises:
        ValueError: If an argument is out of range; if TFDS has no such data
            set or split, or it has not been downloaded; if it has no feature
            `"image"` of 8 or 16 bits or, with labels, no class labels.
        tf.errors.InvalidArgumentError: While iterating, if no image of a
            training batch is readable.

    Example (not run: it downloads 160 MB):

    ```
    train = tfds_dataset("cifar10", 32, 128, seed=1, download=True)
    model.fit(train, steps_per_epoch=390)
    ```
    """
    check_arguments(
        image_size, batch_size, seed, start_step, resize, shard, training
    )
    check_integer("shuffle_buffer", shuffle_buffer)
    if not isinstance(labels, bool):
        raise ValueError(
            f"`labels` must be True or False. Received: {labels!r}"
        )

    _pipeline.leave_gpu_alone()
    builder = _builder(name, data_dir)
    _check_features(builder, labels)
    if download:
        builder.download_and_prepare()
    wanted = {"image": True, "label": True} if labels else {"image": True}

    def read(shuffle_seed=None):
        return builder.as_dataset(
            split=split,
            shuffle_files=shuffle_seed is not None,
            decoders=tfds.decode.PartialDecoding(
                wanted, decoders={"image": tfds.decode.SkipDecoding()}
            ),
            read_config=tfds.ReadConfig(
                add_tfds_id=True,
                shuffle_seed=shuffle_seed,
                # Encoded images are small to read again, large to keep.
                try_autocache=False,
            ),
        )

    in_order = _first_reading(read, builder, split)
    size = int(in_order.cardinality())
    if size < 1:
        raise ValueError(
            f"The split {split!r} of {builder.info.full_name} holds no "
            "examples, or TFDS does not know how many. Pass another split."
        )
    if not training and drop_remainder:
        if batch_size > size:
            raise ValueError(
                f"batch_size={batch_size} with drop_remainder=True leaves "
                f"nothing of the {size} images in the split {split!r}. Pass a "
                "smaller batch_size or drop_remainder=False."
            )
        # Cut before the images are dealt out: as many batches for each worker.
        in_order = in_order.take(size // batch_size * batch_size)

    index, count = shard
    seed = tf.constant(seed, tf.int64)
    decode = _pipeline.Decoder(resize if training else None)

    # TFDS's code is plain Python, which AutoGraph would rewrite wrongly.
    @tf.autograph.experimental.do_not_convert
    def read_epoch(epoch):
        # TensorFlow mixes its global seed into a shuffle; `seed` alone counts
        # here. This sets the seed of this function's graph, nothing else.
        # (Not 0, which TensorFlow compares in Python with the seed's tensor.)
        tf.random.set_seed(1)
        epoch_seed = tf.random.stateless_uniform(
            (), tf.stack([seed, epoch]), None, None, tf.int64, alg="philox"
        )
        examples = read(epoch_seed).shuffle(
            min(shuffle_buffer, size), epoch_seed
        )
        return examples.enumerate(epoch * size)

    def decoded(example):
        image = decode(example["tfds_id"], example["image"])
        # Without labels a stand-in, left out at the end.
        label = example["label"] if labels else 0
        return image, tf.cast(label, tf.int32)

    def train_sample(example_index, example):
        image, label = decoded(example)
        found = _pipeline.is_image(image)
        image = tf.cond(
            found, lambda: image, lambda: tf.zeros((1, 1, 3), tf.uint8)
        )
        image = _pipeline.random_crop(
            image, image_size, resize, flip, seed, example_index
        )
        return image, label, found

    def replace_bad(images, labels, found):
        some = tf.debugging.Assert(
            tf.reduce_any(found), ["No image in a whole batch"]
        )
        with tf.control_dependencies([some]):
            good = tf.where(found)[:, 0]
        # A good image stays where it is, a bad one becomes the next good one.
        places = tf.searchsorted(good, tf.range(tf.size(found, tf.int64)))
        places = tf.gather(good, places % tf.size(good))
        return tf.cond(
            tf.reduce_all(found),
            lambda: (images, labels),
            lambda: (tf.gather(images, places), tf.gather(labels, places)),
        )

    def validation_sample(image, label):
        return _pipeline.center_crop(image, image_size, resize), label

    if training:
        first = start_step * batch_size
        forever = tf.data.experimental.assert_cardinality(
            tf.data.INFINITE_CARDINALITY
        )
        dataset = (
            tf.data.Dataset.counter(first // size)
            .flat_map(read_epoch)
            .apply(forever)
            .skip(first % size)
            .shard(count, index)
            .map(train_sample, tf.data.AUTOTUNE)
            .batch(batch_size // count, drop_remainder=True)
            .map(replace_bad, tf.data.AUTOTUNE)
        )
    else:
        dataset = (
            in_order.shard(count, index)
            .map(decoded, tf.data.AUTOTUNE)
            .filter(lambda image, _: _pipeline.is_image(image))
            .map(validation_sample, tf.data.AUTOTUNE)
            .batch(batch_size // count, drop_remainder)
        )
    if not labels:
        dataset = dataset.map(lambda images, _: images)
    return _pipeline.with_options(dataset)


def tfds_label_names(name, data_dir=None):
    """Names of the classes of a TFDS data set, None if it has none."""
    features = _builder(name, data_dir).info.features
    label = features["label"] if "label" in features.keys() else None
    return list(label.names) if hasattr(label, "names") else None


def _builder(name, data_dir):
    try:
        return tfds.builder(name, data_dir=data_dir)
    # TFDS's own message lists every data set that it knows.
    except tfds.core.registered.DatasetNotFoundError as error:
        raise ValueError(
            f"TFDS knows no data set {name!r}. `tensorflow_datasets."
            "list_builders()` lists the names."
        ) from error
    except (AssertionError, ValueError) as error:
        raise ValueError(f"TFDS cannot give {name!r}: {error}") from error


def _check_features(builder, labels):
    features = builder.info.features
    kinds = (np.uint8, np.uint16)
    known = f"{builder.info.full_name} has the features {features}"
    image, label = (
        features[key] if key in features.keys() else None
        for key in ("image", "label")
    )
    if not isinstance(image, tfds.features.Image) or (
        image.np_dtype not in kinds
    ):
        raise ValueError(
            f'Expected a data set with a feature "image" of uint8 or uint16. '
            f"{known}."
        )
    if labels and not isinstance(label, tfds.features.ClassLabel):
        raise ValueError(
            f'`labels=True` needs class labels in a feature "label". {known}. '
            "Pass labels=False."
        )


def _first_reading(read, builder, split):
    name = builder.info.full_name
    try:
        return read()
    # How TFDS says that the data set's files are not there.
    except AssertionError as error:
        raise ValueError(
            f"{name} has not been downloaded and prepared in "
            f"{builder.data_dir}. Pass `download=True` to do so, or `data_dir` "
            "if it is elsewhere."
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{name} cannot give the split {split!r}: {error}"
        ) from error

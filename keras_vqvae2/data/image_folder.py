import os

import numpy as np

from keras_vqvae2.data._arguments import check_arguments

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp")


def list_images(folder):
    """List the image files in a folder and the folders below it.

    Files are told by their names: `.jpg`, `.jpeg`, `.png` and `.webp`, in upper
    or lower case. Hidden files and folders (`.name`) are left out.

    Args:
        folder: the folder's path.

    Returns:
        The files' paths, each beginning with `folder`, sorted.

    Raises:
        ValueError: if there is no such folder, or no image in it.

    Example:
    >>> list_images("photos")
    ['photos/cats/1.jpg', 'photos/dogs/1.png']
    """
    folder = _check_folder(folder)
    paths = []
    for root, folders, files in os.walk(folder, followlinks=True):
        here = os.path.join(os.path.realpath(root), "")
        # A link to a folder above would be followed for ever.
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not here.startswith(
                os.path.join(os.path.realpath(os.path.join(root, name)), "")
            )
        ]
        paths += [
            os.path.join(root, name)
            for name in files
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    if not paths:
        raise ValueError(
            f"No images in {folder} or the folders below it. Looked for files "
            f"that end in {', '.join(EXTENSIONS)}, in upper or lower case."
        )
    return sorted(paths)


def class_names(folder):
    """List the classes of a folder of class folders.

    Args:
        folder: a folder that holds one folder of images per class.

    Returns:
        The names of the folders in `folder`, sorted: label 3 is the class
        `class_names(folder)[3]`. Hidden folders (`.name`) are left out.

    Raises:
        ValueError: if there is no such folder, or no folder in it.

    Example:
    >>> class_names("photos")
    ['cats', 'dogs']
    """
    folder = _check_folder(folder)
    names = [
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
    ]
    if not names:
        raise ValueError(
            f"Labels need one folder per class in {folder}, found none. Sort "
            "the images into such folders or pass labels=False."
        )
    return sorted(names)


def image_folder_dataset(
    folder,
    image_size,
    batch_size,
    *,
    training=True,
    seed=0,
    start_step=0,
    resize=None,
    flip=True,
    labels=False,
    drop_remainder=False,
    shard=(0, 1),
):
    """Make batches of square images from a folder of image files.

    With `training=True` the stream has no end. An epoch is one pass over the
    folder in an order of its own; each image is cut at a random place and
    mirrored half of the time. Batch `k` depends on the folder's contents, the
    arguments and `k` only, so that `start_step=k` goes on from there at once.
    Batches do not stop at an epoch's end: 10 images in batches of 4 give the
    last 2 of an epoch together with the first 2 of the next.

    With `training=False` the images come once, in the order of `list_images`,
    each cut in its middle and never mirrored.

    With `image_size=256` and `batch_size=32`, a batch has the shape
    `(32, 256, 256, 3)`. A file that holds no image is named in a warning. In
    training the epoch's next image takes its place, so that all others stay
    where they were; in validation it is left out.

    Args:
        folder: the folder, searched as by `list_images`.
        image_size: side of the square images, in pixels.
        batch_size: images per batch, of all workers together.
        training: whether to shuffle, cut at random and repeat without end.
        seed: integer from 0 to 2**63 - 1. The same seed gives the same stream.
        start_step: the first batch of the training stream to give.
        resize: what the shorter side is brought to before the crop, in pixels
            (bicubic, antialiased); `None` crops at the image's own resolution.
            An image too small for the crop is enlarged to fit in either case.
        flip: whether training mirrors half of the images, left to right.
        labels: `True` for class labels from the folders in `folder`, numbered
            as by `class_names`; or these names as a list, where a validation
            folder may lack some of the training folder's classes.
        drop_remainder: whether validation leaves out a last, smaller batch.
            Training has none.
        shard: `(index, count)` gives worker `index` every `count`-th image of
            each batch, from `index` on. All workers together see the same
            stream as one alone.

    Returns:
        A `tf.data.Dataset` of `uint8` images of shape
        `(batch_size / count, image_size, image_size, 3)`, values 0..255; with
        labels, of pairs `(images, labels)`, the labels `int32` of shape
        `(batch_size / count,)`.

    Raises:
        ValueError: if an argument is out of its range, the folder is missing
            or empty, or an image lies in no class folder.
        tf.errors.InvalidArgumentError: while iterating, if 100 files in a row
            hold no image, or all there are.

    Example:
    >>> train = image_folder_dataset("photos/train", 256, 32, seed=1)
    >>> model.fit(train, steps_per_epoch=1000)
    """
    check_arguments(
        image_size, batch_size, seed, start_step, resize, shard, training
    )
    paths = list_images(folder)
    targets = _labels(folder, paths, labels) if labels is not False else None

    import tensorflow as tf

    from keras_vqvae2.data import _pipeline

    decode = _pipeline.Decoder()
    # As bytes: names need not be valid UTF-8.
    files = tf.constant([os.fsencode(path) for path in paths])
    return _pipeline.indexed_dataset(
        lambda file: decode(files[file]),
        len(paths),
        f"images in {folder}",
        image_size,
        batch_size,
        training=training,
        seed=seed,
        start_step=start_step,
        resize=resize,
        flip=flip,
        targets=targets,
        drop_remainder=drop_remainder,
        shard=shard,
        describe=lambda file: files[file],
    )


def _check_folder(folder):
    folder = os.fspath(folder)
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise ValueError(
            f"{folder} {what}. Pass the path of a folder of images."
        )
    return folder


def _labels(folder, paths, labels):
    if isinstance(labels, str):
        raise ValueError(
            f"labels must be True, False or a list of names, got {labels!r}."
        )
    names = class_names(folder) if labels is True else list(labels)
    numbers = {name: number for number, name in enumerate(names)}
    result = []
    for path in paths:
        name, *inside = os.path.relpath(path, folder).split(os.sep)
        if not inside or name not in numbers:
            raise ValueError(
                f"{path} lies in no class folder. With labels, every image "
                f"must lie in one of the folders {names[:10]}"
                f"{' and so on' if len(names) > 10 else ''} in {folder}."
            )
        result.append(numbers[name])
    return np.array(result, "int32")

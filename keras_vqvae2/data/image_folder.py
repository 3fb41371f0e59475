import collections
import os
import pathlib

import numpy as np

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import _pipeline
from keras_vqvae2.data._arguments import check_arguments

tf = LazyModule("tensorflow")

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


def list_images(folder):
    """Lists the image files in a folder and its subfolders.

    Files are recognised by their extensions: `.jpg`, `.jpeg`, `.png`,
    `.webp`, `.bmp`, `.tif` and `.tiff`, in upper or lower case. Hidden files
    and folders (`.name`) are skipped, and whatever is not a regular file. Links
    are followed, but each folder is searched once.

    Args:
        folder: Path of the folder.

    Returns:
        Sorted list of paths, each starting with `folder`.

    Raises:
        ValueError: If there is no such folder, or no image in it.

    Example:

    ```python
    paths = keras_vqvae2.data.list_images(photos)
    assert paths[0] == f"{photos}/cats/0.png"
    ```
    """
    folder = _check_folder(folder)
    paths = [
        entry.path
        for entry in _walk(folder)
        if entry.name.lower().endswith(EXTENSIONS)
        # A link to nothing is named when it cannot be read.
        and (entry.is_file() or not os.path.exists(entry.path))
    ]
    if not paths:
        raise ValueError(
            f"No images in {folder} or the folders below it. Looked for files "
            f"that end in {', '.join(EXTENSIONS)}, in upper or lower case."
        )
    return sorted(paths)


def class_names(folder):
    """Lists the classes of a folder that has one subfolder per class.

    Args:
        folder: Path of a folder with one subfolder of images per class.

    Returns:
        Sorted list of the subfolders' names: label 3 is the class
        `class_names(folder)[3]`. Hidden folders (`.name`) are skipped.

    Raises:
        ValueError: If there is no such folder, or it has no subfolders.

    Example:

    ```python
    assert keras_vqvae2.data.class_names(photos) == ["cats", "dogs"]
    ```
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
    """Batches of square images from a folder of image files.

    With `training=True` the dataset is infinite. Each epoch
    is one pass over the folder in a new order; images are randomly cropped,
    and flipped horizontally with probability 0.5. Batch `k` depends on the
    folder's contents, the arguments and `k` only, so `start_step=k` resumes
    there at once. Batches cross the end of an epoch: with 10 images in batches
    of 4, the last 2 of one epoch share a batch with the first 2 of the next.

    With `training=False` each image comes once, in the order of
    `list_images`, center-cropped and not flipped.

    With `image_size=256` and `batch_size=32`, a batch has the shape
    `(32, 256, 256, 3)`. A warning names each file that is not a readable image.
    In training the epoch's next image takes its place, so all others stay
    where they were; in validation it is skipped.

    Args:
        folder: Path of the folder, searched as by `list_images`.
        image_size: Height and width of the crops, in pixels.
        batch_size: Number of images in a batch, over all workers.
        training: Whether to shuffle, crop randomly and repeat forever.
        seed: Integer in `0 <= seed < 2**63`. The same seed gives the same
            batches.
        start_step: Index of the first training batch.
        resize: Length in pixels to which the shorter side is resized before
            cropping (bicubic, antialiased), or None to crop at the image's own
            resolution. An image smaller than the crop is always enlarged.
            In training, JPEG files of twice that length and more are decoded
            at a half, a quarter or an eighth: 2 to 8 times as fast, and 40 dB
            away from the other way (24 photographs; the worst 33 dB).
        flip: Whether training images are flipped horizontally with probability
            0.5.
        labels: True for class labels from the subfolders of `folder`, numbered
            as by `class_names`; or the list of these names, since a validation
            folder may lack some of the training folder's classes.
        drop_remainder: Whether validation drops a last, smaller batch.
            Training has none.
        shard: `(index, count)`: worker `index` gets every `count`-th image of
            each batch, starting at `index`. All workers together see the same
            batches as one alone.

    Returns:
        A `tf.data.Dataset` of `uint8` images of shape
        `(batch_size / count, image_size, image_size, 3)`, values 0..255; with
        labels, of pairs `(images, labels)`, the labels `int32` of shape
        `(batch_size / count,)`.

    Raises:
        ValueError: If an argument is out of range, the folder is missing
            or empty, or an image is not inside a class folder.
        tf.errors.InvalidArgumentError: While iterating, if 100 files in a
            row, or all files, are not readable images.

    Example:

    ```python
    dataset = keras_vqvae2.data.image_folder_dataset(photos, 64, 2, seed=1)
    images = next(iter(dataset))
    assert images.shape == (2, 64, 64, 3)
    ```
    """
    check_arguments(
        image_size, batch_size, seed, start_step, resize, shard, training
    )
    paths = list_images(folder)
    targets = _labels(folder, paths, labels) if labels is not False else None

    decode = _pipeline.Decoder(resize if training else None)
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


def _walk(folder):
    """Entries that are no folders, in a folder and all below, none hidden."""
    # Whatever links there are: each folder once, none that is above, and by
    # its own name rather than by a link's.
    above = pathlib.Path(os.path.realpath(folder)).parents
    seen = set(map(str, above))
    folders, links = collections.deque([folder]), collections.deque()
    while folders or links:
        root = (folders or links).popleft()
        place = os.path.realpath(root)
        if place in seen:
            continue
        seen.add(place)
        try:
            entries = sorted(os.scandir(root), key=lambda entry: entry.name)
        except OSError:  # not ours to read
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not entry.is_dir():
                yield entry
            elif entry.is_symlink():
                links.append(entry.path)
            else:
                folders.append(entry.path)


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
            f"`labels` must be True, False or a list of names. Received: "
            f"{labels!r}"
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

import hashlib
import os

from keras_vqvae2.data.image_folder import class_names
from keras_vqvae2.data.image_folder import image_folder_dataset
from keras_vqvae2.data.image_folder import list_images
from keras_vqvae2.data.tfds_images import tfds_dataset
from keras_vqvae2.data.tfds_images import tfds_label_names
from keras_vqvae2.data.tfrecord_images import tfrecord_dataset

_TFDS = "tfds:"


def describe_data(data, split="train"):
    """What tells a data set from others, whatever the path.

    Args:
        data: As for `image_dataset`.
        split: As for `image_dataset`.

    Returns:
        Dict of strings: name and split of a TFDS data set; the SHA-256 of the
        names and sizes of all files otherwise.

    Raises:
        ValueError: As `list_images`.
    """
    if str(data).startswith(_TFDS):
        return {"data": str(data), "split": split}
    if str(data).endswith(".tfrecords"):
        paths, names = [data], [os.path.basename(data)]
    else:
        paths = list_images(data)
        names = [os.path.relpath(path, data) for path in paths]
    digest = hashlib.sha256()
    for name in names:
        digest.update(os.fsencode(name) + b"\0")
    for path in paths:
        digest.update(b"%d\n" % os.path.getsize(path))
    return {"data": digest.hexdigest()}


def label_names(data, data_dir=None):
    """Names of the classes of a data set, in the order of their numbers.

    Args:
        data: As for `image_dataset`.
        data_dir: As for `image_dataset`.

    Returns:
        List of strings; None if the classes have no names.

    Raises:
        ValueError: As `class_names` and `tfds_dataset`.
    """
    if str(data).startswith(_TFDS):
        return tfds_label_names(str(data)[len(_TFDS) :], data_dir)
    if str(data).endswith(".tfrecords"):
        return None
    return class_names(data)


def image_dataset(
    data,
    image_size,
    batch_size,
    *,
    split="train",
    data_dir=None,
    download=False,
    **kwargs,
):
    """Batches of square images from a folder, a TFDS name or TFRecords.

    Args:
        data: Path of a folder of images, `tfds:<name>`, or the path of a file
            in NVlabs' format, such as `ffhq-r10.tfrecords`.
        image_size: Height and width of the crops.
        batch_size: Number of images in a batch, over all workers.
        split: Split of a TFDS data set.
        data_dir: As for `tfds_dataset`, for TFDS data sets.
        download: As for `tfds_dataset`, for TFDS data sets.
        **kwargs: Further arguments of `image_folder_dataset`, `tfds_dataset` or
            `tfrecord_dataset`.

    Returns:
        `tf.data.Dataset` of uint8 batches, or of pairs with labels.

    Raises:
        ValueError: If there is no such data set, or an argument is out of
            range.

    Example:

    ```python
    dataset = keras_vqvae2.data.image_dataset(photos, 64, 2, labels=True)
    images, labels = next(iter(dataset))
    assert images.shape == (2, 64, 64, 3) and labels.shape == (2,)
    ```
    """
    if str(data).startswith(_TFDS):
        name = str(data)[len(_TFDS) :]
        return tfds_dataset(
            name,
            image_size,
            batch_size,
            split=split,
            data_dir=data_dir,
            download=download,
            **kwargs,
        )
    if str(data).endswith(".tfrecords"):
        if kwargs.pop("labels", False):
            raise ValueError(f"{data} has no labels: pass `labels=False`.")
        return tfrecord_dataset(data, image_size, batch_size, **kwargs)
    return image_folder_dataset(data, image_size, batch_size, **kwargs)

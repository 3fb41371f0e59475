from keras_vqvae2.data.image_folder import image_folder_dataset
from keras_vqvae2.data.tfds_images import tfds_dataset
from keras_vqvae2.data.tfrecord_images import tfrecord_dataset

_TFDS = "tfds:"


def image_dataset(data, image_size, batch_size, *, split="train", **kwargs):
    """Dataset of a folder of images, or of a TFDS name.

    Args:
        data: Path of a folder, `tfds:<name>`, or a file of NVlabs' FFHQ,
            `ffhq-r10.tfrecords`.
        image_size: Height and width of the crops.
        batch_size: Images in a batch.
        split: Split of a TFDS data set.
        **kwargs: As for `image_folder_dataset`.

    Returns:
        `tf.data.Dataset` of uint8 batches.
    """
    if str(data).startswith(_TFDS):
        name = str(data)[len(_TFDS) :]
        return tfds_dataset(name, image_size, batch_size, split=split, **kwargs)
    if str(data).endswith(".tfrecords"):
        if kwargs.pop("labels", False):
            raise ValueError(f"There are no labels in {data}.")
        return tfrecord_dataset(data, image_size, batch_size, **kwargs)
    return image_folder_dataset(data, image_size, batch_size, **kwargs)

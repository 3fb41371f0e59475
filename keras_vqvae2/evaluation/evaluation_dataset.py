from keras_vqvae2.arguments import check_integer
from keras_vqvae2.data import class_names
from keras_vqvae2.data import image_dataset
from keras_vqvae2.data import list_images


def class_folder_names(source):
    """Names of the class folders, or None for a TFDS data set."""
    return None if str(source).startswith("tfds:") else class_names(source)


def evaluation_dataset(source, image_size, batch_size, number, **options):
    """Batches of at most `number` images, evenly spread over a folder."""
    stride = 1
    folder = not str(source).startswith("tfds:")
    if number is not None:
        check_integer("num_images", number)
        if folder:
            stride = -(-len(list_images(source)) // number)
    # The share of one of `stride` workers.
    dataset = image_dataset(
        source,
        image_size,
        batch_size * stride,
        training=False,
        shard=(0, stride),
        **options,
    )
    if number is not None and not folder:
        dataset = dataset.unbatch().take(number).batch(batch_size)
    return dataset

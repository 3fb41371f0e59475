"""Many images in one file: a GPU would wait for folders."""

import pathlib

import numpy as np
from PIL import Image

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.data.image_file import load_image
from keras_vqvae2.data.image_folder import list_images
from keras_vqvae2.files import atomic_path


def pack_images(folder, path, size):
    """Writes the central squares of a folder's images as one array.

    Training from it decodes nothing, and needs no TensorFlow on the other
    backends. 10 000 images of 272x272 pixels take 2.2 GB.

    Args:
        folder: Folder of images.
        path: Path of the `.npy` file to write; an existing one is replaced.
        size: Height and width in pixels to which each square is resized.

    Returns:
        Number of images.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there are no images, or one of them cannot be read.
    """
    check_integer("size", size)
    paths = list_images(folder)
    with atomic_path(pathlib.Path(path)) as temporary:
        with open(temporary, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file,
                {
                    "descr": "|u1",
                    "fortran_order": False,
                    "shape": (len(paths), size, size, 3),
                },
            )
            for image_path in paths:
                image = load_image(image_path, shorter_side=size)
                side = min(image.shape[:2])
                top, left = ((length - side) // 2 for length in image.shape[:2])
                square = Image.fromarray(
                    image[top : top + side, left : left + side]
                )
                if side != size:
                    square = square.resize((size, size), Image.LANCZOS)
                file.write(square.tobytes())
    return len(paths)


def packed_batches(
    images, image_size, batch_size, *, start_step=0, seed=0, flip=True
):
    """Endless batches of random crops of packed images.

    Every image comes once an epoch, in an order that depends on the seed and
    the epoch; crops and flips depend on the seed and the step. For
    `resumable_fit`, on every backend.

    Args:
        images: uint8 array `(number, height, width, channels)`, such as
            `np.load(path, mmap_mode="r")` gives of a file by `pack_images`.
        image_size: Height and width of the crops.
        batch_size: Images in a batch.
        start_step: Step of the first batch.
        seed: Integer.
        flip: Whether half of the crops are flipped horizontally.

    Returns:
        Generator of tuples of one uint8 array `(batch_size, image_size,
        image_size, channels)`, as Keras wants generators to be.

    Raises:
        ValueError: If an argument does not fit.

    Example:

    ```python
    path = folder / "photos.npy"
    number = keras_vqvae2.data.pack_images(photos, path, 64)
    images = np.load(path, mmap_mode="r")
    batches = keras_vqvae2.data.packed_batches(images, 32, 4)
    (batch,) = next(batches)
    assert batch.shape == (4, 32, 32, 3)
    ```
    """
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(
            "`images` must be a uint8 array (number, height, width, "
            f"channels). Received: {images.dtype} of shape {images.shape}"
        )
    check_integer("batch_size", batch_size)
    check_integer("start_step", start_step, minimum=0)
    check_integer("image_size", image_size, maximum=min(images.shape[1:3]))
    return _batches(images, image_size, batch_size, start_step, seed, flip)


def _batches(images, size, batch_size, step, seed, flip):
    epoch, order = None, None
    while True:
        random = np.random.default_rng((seed, 0, step))
        batch = np.empty(
            (batch_size, size, size, images.shape[-1]), images.dtype
        )
        for i in range(batch_size):
            now, place = divmod(step * batch_size + i, len(images))
            if now != epoch:
                epoch = now
                order = np.random.default_rng((seed, 1, epoch)).permutation(
                    len(images)
                )
            top, left = (
                random.integers(length - size, endpoint=True)
                for length in images.shape[1:3]
            )
            crop = images[order[place], top : top + size, left : left + size]
            flipped = flip and random.integers(2)
            batch[i] = crop[:, ::-1] if flipped else crop
        yield (batch,)
        step += 1

import itertools

import numpy as np
import pytest
from PIL import Image

from keras_vqvae2.data import pack_images
from keras_vqvae2.data import packed_batches


def write(folder, number, size=(12, 10)):
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(number):
        pixels = rng.integers(256, size=(*size, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return folder


def numbered(number, size=6):
    """Each pixel says which image, row and column it is of."""
    images = np.empty((number, size, size, 3), "uint8")
    images[..., 0] = np.arange(number)[:, None, None]
    images[..., 1] = np.arange(size)[:, None]
    images[..., 2] = np.arange(size)
    return images


def take(number, *args, **kwargs):
    batches = itertools.islice(packed_batches(*args, **kwargs), number)
    return [batch for (batch,) in batches]


@pytest.mark.once
def test_packs_central_squares(tmp_path):
    folder = write(tmp_path / "images", 3)
    path = tmp_path / "packed.npy"
    assert pack_images(folder, path, 10) == 3
    packed = np.load(path, mmap_mode="r")
    assert packed.shape == (3, 10, 10, 3) and packed.dtype == "uint8"
    for i in range(3):
        image = np.asarray(Image.open(folder / f"{i}.png"))
        np.testing.assert_array_equal(packed[i], image[1:11])
    assert pack_images(folder, path, 5) == 3
    expected = Image.fromarray(np.load(path)[0])
    image = Image.open(folder / "0.png").crop((0, 1, 10, 11))
    resized = image.resize((5, 5), Image.LANCZOS)
    np.testing.assert_array_equal(expected, resized)


@pytest.mark.once
def test_a_broken_image_leaves_the_old_file(tmp_path):
    folder = write(tmp_path / "images", 2)
    path = tmp_path / "packed.npy"
    pack_images(folder, path, 8)
    before = path.read_bytes()
    (folder / "9.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="9.png could not be read"):
        pack_images(folder, path, 10)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.glob("*.npy")] == ["packed.npy"]


@pytest.mark.once
def test_each_image_once_an_epoch():
    images = numbered(10)
    batches = take(10, images, 4, 3)
    numbers = np.concatenate([batch[:, 0, 0, 0] for batch in batches])
    for epoch in range(3):
        some = numbers[10 * epoch : 10 * epoch + 10]
        assert sorted(some) == list(range(10))
    assert list(numbers[:10]) != list(numbers[10:20])


@pytest.mark.once
def test_crops_are_whole_and_everywhere():
    images = numbered(1)
    places, flips = set(), set()
    for (crop,) in take(300, images, 4, 1):
        rows, columns = crop[:, 0, 1], crop[0, :, 2].astype(int)
        step = columns[1] - columns[0]
        flips.add(step)
        np.testing.assert_array_equal(np.diff(rows), 1)
        np.testing.assert_array_equal(np.diff(columns), step)
        assert (crop[..., 2] == crop[:1, :, 2]).all()
        places.add((rows[0], columns.min()))
    assert flips == {1, -1}
    assert places == set(itertools.product(range(3), range(3)))
    crops = take(50, images, 6, 1, flip=False)
    assert all((crop == images).all() for crop in crops)


@pytest.mark.once
def test_goes_on_from_any_step():
    images = numbered(7)
    batches = take(9, images, 4, 3, seed=5)
    for start in (1, 4, 8):
        rest = take(9 - start, images, 4, 3, seed=5, start_step=start)
        np.testing.assert_array_equal(rest, batches[start:])
    assert (take(1, images, 4, 3, seed=6)[0] != batches[0]).any()


@pytest.mark.once
@pytest.mark.parametrize(
    ("images", "arguments", "message"),
    [
        (np.zeros((2, 8, 8, 3)), (4, 1), "uint8 array .* Received: float64"),
        (np.zeros((8, 8, 3), "uint8"), (4, 1), r"shape \(8, 8, 3\)"),
        (np.zeros((0, 8, 8, 3), "uint8"), (4, 1), r"shape \(0, 8, 8, 3\)"),
        (np.zeros((2, 8, 6, 3), "uint8"), (7, 1), "image_size.* 7"),
        (np.zeros((2, 8, 6, 3), "uint8"), (4, 0), "batch_size.* 0"),
    ],
)
def test_errors_at_once(images, arguments, message):
    with pytest.raises(ValueError, match=message):
        packed_batches(images, *arguments)

import io
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_vqvae2.data import _pipeline
from keras_vqvae2.data import class_names
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.data import list_images
from keras_vqvae2.data import load_image

SIZE = 32


def photo(seed=0, height=SIZE, width=SIZE):
    """A smooth picture, so that JPEG stays close to it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), "uint8")
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def rotated(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(photo(height=24), "PNG", exif=exif)


def ramp16(channels):
    values = np.linspace(0, 65535, SIZE * SIZE * channels)
    values = values.reshape(SIZE, SIZE, channels).astype("uint16")
    return values, tf.io.encode_png(values).numpy()


def transparent():
    image = photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def over_white(image):
    pixels = np.asarray(image, "float64")
    alpha = pixels[..., 3:] / 255
    return pixels[..., :3] * alpha + 255 * (1 - alpha)


PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PLAIN = {
    "rgb.jpg": encoded(photo(), "JPEG", quality=95),
    "progressive.jpg": encoded(photo(), "JPEG", progressive=True),
    "grey.jpg": encoded(photo().convert("L"), "JPEG"),
    "rgb.png": encoded(photo(), "PNG"),
    "grey.png": encoded(photo().convert("L"), "PNG"),
    "png_in_truth.jpg": encoded(photo(), "PNG"),
}
SPECIAL = {
    "cmyk.jpg": encoded(photo().convert("CMYK"), "JPEG", quality=95),
    "turned.jpg": encoded(
        photo(), "JPEG", exif=Image.open(io.BytesIO(rotated(6))).getexif()
    ),
    "whole_but_for_the_last_byte.png": encoded(photo(), "PNG")[:-1],
    "more_after_the_end.png": encoded(photo(), "PNG") + b"appended",
    "no_end_mark.jpg": encoded(photo(), "JPEG") + b"\0\0 appended by a camera",
    "rgba.png": encoded(transparent(), "PNG"),
    "grey_alpha.png": encoded(transparent().convert("LA"), "PNG"),
    "palette.png": encoded(photo().quantize(16), "PNG"),
    "palette_clear.png": encoded(photo().quantize(16), "PNG", transparency=3),
    "colour_key.png": encoded(photo(), "PNG", transparency=(1, 2, 3)),
    "bits.png": encoded(photo().convert("1"), "PNG"),
    "grey16.png": ramp16(1)[1],
    "rgb16.png": ramp16(3)[1],
    "lossless.webp": encoded(photo(), "WEBP", lossless=True),
    "alpha.webp": encoded(transparent(), "WEBP", lossless=True),
}
BROKEN = {
    "cut.jpg": PLAIN["rgb.jpg"][:-200],
    "cut_at_the_end.jpg": PLAIN["rgb.jpg"][:-2],
    "cut.png": PLAIN["rgb.png"][:-200],
    "no_end.png": PLAIN["rgb.png"][:-12],
    "cut_in_the_checksum.png": PLAIN["rgb.png"][:-14],
    "wrong_checksum.png": PLAIN["rgb.png"][:-16] + bytes(4) + PNG_END,
    "no_end_rgba.png": encoded(transparent(), "PNG")[:-12],
    "cut.webp": SPECIAL["lossless.webp"][:-100],
    "text.jpg": b"this is not an image\n",
    "empty.png": b"",
    "gif_in_truth.png": encoded(photo().convert("L"), "GIF"),
}


@pytest.fixture
def folder(tmp_path):
    """Writes files by name and gives their folder."""

    def write(files):
        for name, contents in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents)
        return tmp_path

    return write


def flat(value, height=SIZE, width=SIZE):
    return encoded(Image.new("RGB", (width, height), (value,) * 3), "PNG")


def flats(count):
    return {f"{value:03}.png": flat(value) for value in range(count)}


def batches(dataset, count):
    return np.stack([batch.numpy() for batch in dataset.take(count)])


def values(images):
    """Which of the `flats` each image is."""
    return images[..., 0, 0, 0]


# One image


def test_load_image_plain(folder):
    path = folder(PLAIN) / "rgb.png"
    image = load_image(path)
    assert image.dtype == np.uint8 and image.flags.writeable
    np.testing.assert_array_equal(image, photo())
    np.testing.assert_array_equal(load_image(str(path)), photo())


@pytest.mark.parametrize("name", ["grey.png", "bits.png", "palette.png"])
def test_load_image_without_rgb(folder, name):
    contents = {**PLAIN, **SPECIAL}[name]
    expected = Image.open(io.BytesIO(contents)).convert("RGB")
    image = load_image(folder({name: contents}) / name)
    np.testing.assert_array_equal(image, expected)


def test_load_image_cmyk_has_its_colours(folder):
    image = load_image(folder(SPECIAL) / "cmyk.jpg")
    assert image.shape == (SIZE, SIZE, 3)
    difference = image.astype("int32") - np.asarray(photo())
    assert abs(difference).mean() < 3


@pytest.mark.parametrize("name", ["rgba.png", "alpha.webp"])
def test_load_image_lays_alpha_over_white(folder, name):
    image = load_image(folder(SPECIAL) / name)
    np.testing.assert_allclose(image, over_white(transparent()), atol=1)


def test_load_image_clear_palette_and_colour(folder):
    path = folder(SPECIAL)
    stored = Image.open(path / "palette_clear.png")
    clear = np.asarray(stored) == 3
    image = load_image(path / "palette_clear.png")
    assert clear.any() and (image[clear] == 255).all()
    expected = np.asarray(photo().quantize(16).convert("RGB"))
    np.testing.assert_array_equal(image[~clear], expected[~clear])

    white = np.full((4, 4, 3), 7, "uint8")
    white[0, 0] = (1, 2, 3)
    (path / "key.png").write_bytes(
        encoded(Image.fromarray(white), "PNG", transparency=(1, 2, 3))
    )
    white[0, 0] = 255
    np.testing.assert_array_equal(load_image(path / "key.png"), white)


@pytest.mark.parametrize("channels", [1, 3])
def test_load_image_16_bits_are_scaled_not_clipped(folder, channels):
    pixels, contents = ramp16(channels)
    image = load_image(folder({"deep.png": contents}) / "deep.png")
    expected = np.broadcast_to(pixels / 257, image.shape)
    np.testing.assert_allclose(image, expected, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_image_applies_exif_orientation(folder, orientation):
    stored = np.asarray(photo(height=24))
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.swapaxes(0, 1),
        6: stored.swapaxes(0, 1)[:, ::-1],
        7: stored.swapaxes(0, 1)[::-1, ::-1],
        8: stored.swapaxes(0, 1)[::-1],
    }[orientation]
    path = folder({"turned.png": rotated(orientation)}) / "turned.png"
    np.testing.assert_array_equal(load_image(path), upright)


def test_load_image_with_broken_exif(folder):
    contents = encoded(photo(), "PNG", exif=b"Exif\0\0II*\0nonsense")
    path = folder({"camera.png": contents}) / "camera.png"
    np.testing.assert_array_equal(load_image(path), photo())


@pytest.mark.parametrize("name", BROKEN)
def test_load_image_names_a_broken_file(folder, name):
    path = folder(BROKEN) / name
    with pytest.raises(ValueError, match=f"{name} could not be read"):
        load_image(path)


def test_load_image_refuses_a_decompression_bomb(folder, monkeypatch):
    path = folder(PLAIN) / "rgb.png"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE * SIZE // 3)
    with pytest.raises(ValueError, match="rgb.png .* bomb"):
        load_image(path)


def test_load_image_without_a_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.png"):
        load_image(tmp_path / "none.png")


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="Keras imports it itself"
)
def test_a_single_image_needs_no_tensorflow():
    code = (
        "import sys, keras_vqvae2.data; assert 'tensorflow' not in sys.modules"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.once
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_large_picture_is_held_once(tmp_path):
    """Pillow's own pixels, 4 bytes each, beside the array's 3: 7/3 of it."""
    side, path = 4096, tmp_path / "large.png"
    Image.new("RGB", (side, side)).save(path)
    code = (
        "from keras_vqvae2.data import load_image\n"
        "def peak():\n"
        "    with open('/proc/self/status') as lines:\n"
        "        (line,) = [x for x in lines if x.startswith('VmHWM')]\n"
        "    return 1024 * int(line.split()[1])\n"
        f"before, image = peak(), load_image({str(path)!r})\n"
        "print((peak() - before) / image.nbytes)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    environment["KERAS_BACKEND"] = "numpy"
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert float(result.stdout) < 3


# The native decoder


@pytest.mark.parametrize("name", PLAIN)
def test_native_decoder_equals_pillow(folder, name):
    image = _pipeline.decode_plain(PLAIN[name]).numpy()
    expected = load_image(folder(PLAIN) / name).astype("int32")
    np.testing.assert_allclose(image, expected, atol=1)


@pytest.mark.parametrize("name", [*SPECIAL, *BROKEN])
def test_native_decoder_leaves_the_rest_to_pillow(name):
    with pytest.raises(tf.errors.InvalidArgumentError):
        _pipeline.decode_plain({**SPECIAL, **BROKEN}[name])


@pytest.mark.parametrize(
    ("shorter_side", "ratio"),
    [(97, 1), (49, 1), (48, 2), (25, 2), (24, 4), (13, 4), (12, 8), (2, 8)],
)
def test_large_jpegs_are_decoded_small(tmp_path, shorter_side, ratio):
    y, x = np.mgrid[:96, :131]
    pixels = np.stack([x, y, 128 + 60 * np.sin(x / 20 + y / 30)], -1)
    path = tmp_path / "large.jpg"
    Image.fromarray(pixels.astype("uint8")).save(path, quality=95)
    small = load_image(path, shorter_side)
    assert small.shape == (96 // ratio, -(-131 // ratio), 3)
    native = _pipeline.decode_plain(path.read_bytes(), shorter_side).numpy()
    np.testing.assert_allclose(native, small.astype("int32"), atol=1)
    size = 131 // ratio * ratio  # of whole blocks of pixels, the means
    blocks = pixels[:, :size].reshape(
        96 // ratio, ratio, size // ratio, ratio, 3
    )
    means = blocks.mean(axis=(1, 3))
    assert abs(small[:, : size // ratio] - means).mean() < 2


def test_only_training_decodes_small(tmp_path, monkeypatch):
    received = []
    decode_plain = _pipeline.decode_plain
    monkeypatch.setattr(
        _pipeline,
        "decode_plain",
        lambda contents, shorter_side: (
            received.append(shorter_side) or decode_plain(contents)
        ),
    )
    Image.new("RGB", (64, 64)).save(tmp_path / "a.jpg")
    for training, expected in ((True, 16), (False, None)):
        image_folder_dataset(tmp_path, 16, 1, resize=16, training=training)
        assert set(received) == {expected}  # traced once or more
        received.clear()


def test_native_decoder_leaves_huge_images_to_pillow(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", SIZE * SIZE - 1)
    for name in ("rgb.jpg", "rgb.png"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            _pipeline.decode_plain(PLAIN[name])


# Lists


def test_list_images(folder):
    path = folder(
        {
            "b/2.PNG": b"",
            "b/1.jpeg": b"",
            "a/deep/er/3.JPG": b"",
            "4.webp": b"",
            "notes.txt": b"",
            "b/._1.jpg": b"",
            ".thumbnails/1.jpg": b"",
        }
    )
    (path / "a" / "loop").symlink_to(path)
    expected = ["4.webp", "a/deep/er/3.JPG", "b/1.jpeg", "b/2.PNG"]
    assert list_images(path) == [str(path / name) for name in expected]
    assert class_names(path) == ["a", "b"]


def test_list_images_follows_links(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "1.png").write_bytes(b"")
    path = folder({})
    (path / "link").symlink_to(elsewhere)
    assert list_images(path) == [str(path / "link" / "1.png")]


@pytest.mark.once
def test_list_images_searches_each_folder_once(folder):
    path = folder({"a/1.png": b"", "b/2.png": b"", "z/deep/3.png": b""})
    for link, target in (
        ("a/to_b", "../b"),
        ("b/to_a", "../a"),
        ("b/also_a", "../a"),
        ("0", "z/deep"),
        ("itself", "."),
        ("above", ".."),
    ):
        (path / link).symlink_to(target)
    expected = ["a/1.png", "b/2.png", "z/deep/3.png"]
    assert list_images(path) == [str(path / name) for name in expected]
    expected = ["b/2.png", "b/also_a/1.png"]
    assert list_images(path / "b") == [str(path / name) for name in expected]


@pytest.mark.once
def test_only_regular_files_are_images(folder):
    path = folder({"1.png": flat(1)})
    os.mkfifo(path / "pipe.png")
    (path / "pipes.png").symlink_to("pipe.png")
    (path / "zero.png").symlink_to("/dev/zero")
    (path / "nothing.png").symlink_to("absent")
    names = ["1.png", "nothing.png"]
    assert list_images(path) == [str(path / name) for name in names]
    for name in ("pipe.png", "pipes.png", "zero.png"):
        with pytest.raises(OSError, match=f"{name} is not a regular file"):
            load_image(path / name)
    for name, error in (("absent.png", FileNotFoundError), (".", OSError)):
        with pytest.raises(error):
            load_image(path / name)
    with pytest.raises(TypeError):
        load_image(0)  # a file descriptor
    with pytest.warns(UserWarning, match="nothing.png"):
        dataset = image_folder_dataset(path, SIZE, 2, training=False)
        assert [len(batch) for batch in dataset] == [1]


def test_list_images_errors(folder):
    path = folder({"notes.txt": b"", "sub/readme.md": b""})
    with pytest.raises(ValueError, match=r"nowhere does not exist"):
        list_images(path / "nowhere")
    with pytest.raises(ValueError, match=r"notes.txt is a file"):
        list_images(path / "notes.txt")
    with pytest.raises(ValueError, match=r"\.jpg, \.jpeg, \.png, \.webp"):
        list_images(path)
    with pytest.raises(ValueError, match="one folder per class"):
        class_names(path / "sub")


# Validation


def test_validation_is_one_pass_in_file_order(folder):
    path = folder(flats(7))
    dataset = image_folder_dataset(path, SIZE, 3, training=False)
    assert dataset.element_spec == tf.TensorSpec((None, SIZE, SIZE, 3), "uint8")
    assert [list(values(batch.numpy())) for batch in dataset] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    dataset = image_folder_dataset(
        path, SIZE, 3, training=False, drop_remainder=True
    )
    assert dataset.element_spec == tf.TensorSpec((3, SIZE, SIZE, 3), "uint8")
    assert len(list(dataset)) == 2


def test_validation_equals_load_image(folder):
    files = {**PLAIN, **SPECIAL}
    path = folder(files)
    dataset = image_folder_dataset(path, SIZE, 100, training=False)
    (images,) = dataset
    for image, name in zip(images.numpy(), sorted(files), strict=True):
        expected = load_image(path / name).astype("int32")
        np.testing.assert_allclose(image, expected, atol=1, err_msg=name)


@pytest.mark.parametrize("height,width", [(50, 80), (81, 47), (33, 32)])
def test_validation_cuts_the_middle(folder, height, width):
    image = np.asarray(photo(1, height, width))
    path = folder({"1.png": encoded(photo(1, height, width), "PNG")})
    (cut,) = image_folder_dataset(path, SIZE, 1, training=False)
    top, left = (height - SIZE) // 2, (width - SIZE) // 2
    expected = image[top : top + SIZE, left : left + SIZE]
    np.testing.assert_array_equal(cut[0], expected)


@pytest.mark.parametrize("side,resize", [(20, None), (20, SIZE), (96, SIZE)])
def test_resize_equals_pillow(folder, side, resize):
    image = photo(2, side, side)
    path = folder({"1.png": encoded(image, "PNG")})
    (cut,) = image_folder_dataset(path, SIZE, 1, training=False, resize=resize)
    expected = image.resize((SIZE, SIZE), Image.BICUBIC)
    np.testing.assert_allclose(cut[0], np.asarray(expected, "int32"), atol=1)


def test_resize_before_a_smaller_crop(folder):
    image = photo(3, 96, 120)
    path = folder({"1.png": encoded(image, "PNG")})
    (cut,) = image_folder_dataset(path, SIZE, 1, training=False, resize=48)
    resized = np.asarray(image.resize((60, 48), Image.BICUBIC), "int32")
    expected = resized[8 : 8 + SIZE, 14 : 14 + SIZE]
    # The window is cut before the resize, which shows at its border only.
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(cut[0].numpy()[inner], expected[inner], atol=1)


def test_a_long_strip_takes_no_memory(folder):
    # Resized whole, it would be 256 x 1024000 pixels.
    path = folder({"1.png": flat(9, 1, 4000)})
    (cut,) = image_folder_dataset(path, 256, 1, training=False)
    assert (cut.numpy() == 9).all()


@pytest.mark.parametrize("name", BROKEN)
def test_validation_leaves_out_broken_files(folder, name):
    path = folder({**flats(3), name: BROKEN[name]})
    dataset = image_folder_dataset(path, SIZE, 8, training=False)
    with pytest.warns(UserWarning, match=f"{name} could not be read") as caught:
        (images,) = dataset
        (images,) = dataset
    np.testing.assert_array_equal(values(images.numpy()), [0, 1, 2])
    assert len(caught) == 1


def test_a_file_that_vanished(folder):
    path = folder(flats(3))
    dataset = image_folder_dataset(path, SIZE, 8, training=False)
    os.remove(path / "001.png")
    with pytest.warns(UserWarning, match="001.png"):
        (images,) = dataset
    np.testing.assert_array_equal(values(images.numpy()), [0, 2])


def test_a_name_that_is_not_utf8(folder):
    path = folder({})
    for name, contents in ((b"\xff.png", flat(5)), (b"\xfe.png", b"")):
        with open(os.path.join(os.fsencode(path), name), "wb") as file:
            file.write(contents)
    dataset = image_folder_dataset(path, SIZE, 8, training=False)
    with pytest.warns(UserWarning, match="could not be read"):
        (images,) = dataset
    np.testing.assert_array_equal(values(images.numpy()), [5])


# Training


def test_training_batches_are_static_and_endless(folder):
    dataset = image_folder_dataset(folder(flats(3)), SIZE, 5)
    assert dataset.element_spec == tf.TensorSpec((5, SIZE, SIZE, 3), "uint8")
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize("count", [1, 2, 7, 40])
def test_an_epoch_sees_every_image_once(folder, count):
    dataset = image_folder_dataset(folder(flats(count)), SIZE, count)
    epochs = values(batches(dataset, 3))
    np.testing.assert_array_equal(np.sort(epochs), [range(count)] * 3)
    if count == 40:
        assert (epochs[0] != epochs[1]).any()
        assert (epochs[0] != np.arange(count)).any()


def test_training_goes_on_from_any_step(folder):
    files = {f"{i}.png": encoded(photo(i, 40, 44), "PNG") for i in range(7)}
    path = folder(files)
    whole = batches(image_folder_dataset(path, SIZE, 4, seed=3), 6)
    for step in (2, 5):
        rest = image_folder_dataset(path, SIZE, 4, seed=3, start_step=step)
        np.testing.assert_array_equal(batches(rest, 6 - step), whole[step:])
    far = image_folder_dataset(path, SIZE, 4, seed=3, start_step=10**12)
    assert batches(far, 1).shape == (1, 4, SIZE, SIZE, 3)


def test_training_depends_on_the_seed_alone(folder):
    path = folder(
        {f"{i}.png": encoded(photo(i, 40, 44), "PNG") for i in range(9)}
    )
    one = batches(image_folder_dataset(path, SIZE, 3, seed=1), 3)
    tf.random.set_seed(1234)
    again = batches(image_folder_dataset(path, SIZE, 3, seed=1), 3)
    other = batches(image_folder_dataset(path, SIZE, 3, seed=2**63 - 1), 3)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def coordinates(height, width):
    rows, columns = np.indices((height, width))
    return np.stack([rows, columns, rows * 0], -1).astype("uint8")


@pytest.mark.parametrize("flip", [True, False])
def test_random_crop_and_flip(folder, flip):
    image = Image.fromarray(coordinates(SIZE + 3, SIZE + 2))
    path = folder({"1.png": encoded(image, "PNG")})
    images = batches(image_folder_dataset(path, SIZE, 200, flip=flip), 1)[0]
    seen = set()
    for cut in images.astype("int32"):
        mirrored = cut[0, 0, 1] > cut[0, -1, 1]
        cut = cut[:, ::-1] if mirrored else cut
        corner = cut[0, 0]
        np.testing.assert_array_equal(cut - corner, coordinates(SIZE, SIZE))
        seen.add((corner[0], corner[1], bool(mirrored)))
    mirrors = {True, False} if flip else {False}
    assert seen == {
        (top, left, mirrored)
        for top in range(4)
        for left in range(3)
        for mirrored in mirrors
    }


def test_training_enlarges_small_images(folder):
    path = folder({"1.png": flat(7, 5, 90), "2.png": flat(8, 16, 16)})
    images = batches(image_folder_dataset(path, SIZE, 2), 1)[0]
    assert sorted(values(images)) == [7, 8]
    assert (images == images[:, :1, :1]).all()


def test_a_broken_file_moves_no_other_image(folder):
    path = folder(flats(9))
    whole = batches(image_folder_dataset(path, SIZE, 3, seed=5), 6)
    (path / "004.png").write_bytes(BROKEN["text.jpg"])
    with pytest.warns(UserWarning, match="004.png") as caught:
        images = batches(image_folder_dataset(path, SIZE, 3, seed=5), 6)
    assert len(caught) == 1
    order, seen = values(whole).ravel(), values(images).ravel()
    for place, (expected, got) in enumerate(zip(order, seen, strict=True)):
        if expected == 4:
            start = place // 9 * 9
            expected = order[start + (place - start + 1) % 9]
        assert got == expected


def test_training_without_any_image(folder):
    path = folder({"1.jpg": b"", "2.png": b"text"})
    dataset = image_folder_dataset(path, SIZE, 1)
    with pytest.warns(UserWarning):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="No image in 2 files"
        ):
            batches(dataset, 1)


@pytest.mark.parametrize("training", [True, False])
def test_shards_make_up_the_stream(folder, training):
    files = {f"{i}.png": encoded(photo(i, 40, 44), "PNG") for i in range(8)}
    path = folder(files)

    def stream(**options):
        dataset = image_folder_dataset(
            path, SIZE, 4, training=training, **options
        )
        return batches(dataset, 2)

    whole = stream()
    for index in range(2):
        part = stream(shard=(index, 2))
        np.testing.assert_array_equal(part, whole[:, index::2])


# Labels


def test_labels(folder):
    path = folder({"b/1.png": flat(10), "a/2.png": flat(20), "c/x": b""})
    dataset = image_folder_dataset(path, SIZE, 2, labels=True)
    images, labels = dataset.element_spec
    assert labels == tf.TensorSpec((2,), "int32")
    images, labels = next(iter(dataset))
    pairs = zip(values(images.numpy()), labels.numpy(), strict=True)
    assert sorted(pairs) == [(10, 1), (20, 0)]

    dataset = image_folder_dataset(
        path, SIZE, 2, training=False, labels=["b", "other", "a"]
    )
    ((images, labels),) = dataset
    np.testing.assert_array_equal(labels, [2, 0])


def test_label_errors(folder):
    path = folder({"a/1.png": flat(1), "2.png": flat(2)})
    with pytest.raises(ValueError, match="2.png lies in no class folder"):
        image_folder_dataset(path, SIZE, 1, labels=True)
    with pytest.raises(ValueError, match="1.png lies in no class folder"):
        image_folder_dataset(path / "a", SIZE, 1, labels=["b"])
    with pytest.raises(ValueError, match="list of names. Received: 'int'"):
        image_folder_dataset(path, SIZE, 1, labels="int")


# Arguments


@pytest.mark.parametrize(
    "arguments,message",
    [
        (
            {"image_size": 0},
            "`image_size` must be a positive .*: 0",
        ),
        ({"image_size": 2.5}, "`image_size` must be a positive integer"),
        ({"image_size": (8, 8)}, "`image_size` must be a positive integer"),
        ({"batch_size": True}, "`batch_size` must be a positive integer"),
        ({"batch_size": -3}, "`batch_size` must be a positive integer"),
        ({"batch_size": 10**9}, "1000000000 images of 8x8 have more than 16"),
        ({"image_size": 10**6}, "2 images of 1000000x1000000 have more than"),
        (
            {"seed": None},
            "`seed` must be .* at least 0.*: None",
        ),
        ({"seed": 2**63}, "`seed` must be below"),
        (
            {"start_step": -1},
            "`start_step` must be .* at least 0.*: -1",
        ),
        ({"start_step": 1, "training": False}, "needs training=True"),
        ({"resize": 7}, "`resize=7` is less than `image_size=8`"),
        ({"resize": 0}, "`resize` must be a positive integer"),
        ({"shard": 3}, "`shard` must be a pair"),
        ({"shard": (2, 2)}, "an index below its count"),
        ({"shard": (0, 0)}, "`shard.1.` must be a positive integer"),
        ({"shard": (0, 3)}, "Pass a multiple of 3"),
        (
            {"training": False, "drop_remainder": True, "batch_size": 4},
            "leaves nothing of the 3 images",
        ),
    ],
)
def test_argument_errors(folder, arguments, message):
    arguments = {"image_size": 8, "batch_size": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        image_folder_dataset(folder(flats(3)), **arguments)

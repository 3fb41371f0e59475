"""The demo page: what it computes, and how a browser sees it."""

import importlib.util
import io
import socket

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.demo import photos
from keras_vqvae2.demo.choices import find_choices
from keras_vqvae2.demo.edit_tab import read_drawing
from keras_vqvae2.demo.edit_tab import variants
from keras_vqvae2.demo.generate_tab import draw
from keras_vqvae2.demo.reconstruct_tab import describe
from keras_vqvae2.demo.reconstruct_tab import reconstruct
from keras_vqvae2.demo.surprise_tab import surprise
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.images import psnr
from keras_vqvae2.surprise import Surprise

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def photo():
    """A photograph of 64x48 pixels, more or less: smooth, with noise."""
    y, x = np.mgrid[:48, :64]
    noise = np.random.default_rng(0).normal(0, 12, (48, 64, 3))
    image = np.stack([2 * x, 3 * y, x + y], -1) + 60 + noise
    return image.clip(0, 255).astype("uint8")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model(class_dropout=0.1).save_pretrained(folder)
    return str(folder)


def pillow(image, name, quality):
    file = io.BytesIO()
    options = photos.FORMATS[name]
    Image.fromarray(image).save(file, name, quality=quality, **options)
    decoded = np.asarray(Image.open(file).convert("RGB"))
    return len(file.getvalue()), psnr(image[None], decoded[None])[0]


def test_other_formats_at_equal_bytes_and_quality(photo):
    size, quality = pillow(photo, "JPEG", 40)
    rows = {name: row for name, *row in photos.compare(photo, size, quality)}
    assert set(rows) == {
        f"{name}, {rule}"
        for name in ("JPEG", "WebP")
        for rule in ("at most as many bytes", "at least this quality")
    }
    assert rows["JPEG, at most as many bytes"] == [size, quality]
    for name in photos.FORMATS:
        files = [pillow(photo, name, quality) for quality in range(96)]
        num_bytes, decibels = rows[f"{name}, at most as many bytes"]
        # WebP's quality does not always grow by a step.
        best = max(file[1] for file in files if file[0] <= size)
        assert num_bytes <= size and decibels > best - 0.05
        num_bytes, decibels = rows[f"{name}, at least this quality"]
        least = min(file[0] for file in files if file[1] >= quality)
        assert decibels >= quality and num_bytes < 1.03 * least


def test_formats_that_cannot_compare_are_left_out(photo):
    assert photos.compare(photo, 10, 90.0) == []


def test_photos_are_made_smaller_and_errors_name_the_file_alone(tmp_path):
    Image.new("RGB", (1500, 500), (9, 99, 200)).save(tmp_path / "wide.png")
    image = photos.load_photo(tmp_path / "wide.png")
    assert image.shape == (341, 1024, 3) and (image == (9, 99, 200)).all()
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="^bad.png could not be read"):
        photos.load_photo(tmp_path / "bad.png")


def test_center_and_enlarged():
    image = np.zeros((4, 8, 3), "uint8")
    image[:, 2:6] = 200
    square = photos.center(image, (16, 16))
    assert square.shape == (16, 16, 3) and (square == 200).all()
    assert photos.center(image, (4, 8)).tolist() == image.tolist()
    assert photos.enlarged(image, 20).shape == (12, 24, 3)


def test_reconstruct_is_compress_and_decompress(photo):
    model = make_model()
    data, images = reconstruct(model, photo[:37, :50])
    assert [data] == model.compress([photo[:37, :50]])
    for levels, image in enumerate(images, 1):
        (expected,) = model.decompress([data], levels)
        np.testing.assert_array_equal(image, expected)
    text = describe(photo[:37, :50], images[-1], data, "tiny")
    quality = psnr(photo[None, :37, :50], images[-1][None])[0]
    bits = 8 * len(data) / (37 * 50)
    row = f"| **codes of tiny** | {len(data)} | {bits:.3f} | {quality:.2f} |"
    assert row in text.splitlines() and text.startswith("50x37 pixels")


def test_choices_come_from_the_models(model_folder, tmp_path):
    choices = find_choices()
    assert set(choices) <= set(PRESETS)
    if choice := choices.get("vqvae2-cifar10"):
        assert choice.image_size == (32, 32) and len(choice.classes) == 10
    if choice := choices.get("vqvae2-imagenet256"):
        assert choice.image_size is None
    choice = find_choices([model_folder])[model_folder]
    assert choice.image_size == (8, 8) and choice.classes == (0, 1, 2)
    assert choice.num_levels == 2 and choice.can_be_guided
    grey = keras_vqvae2.VQVAE2(make_vqvae(num_channels=1))
    grey.save_pretrained(tmp_path / "grey")
    with pytest.raises(ValueError, match="RGB images.*1 channels"):
        find_choices([str(tmp_path / "grey")])


def test_generate_gets_what_was_chosen():
    calls = []

    class Model:
        def generate(self, *args, **kwargs):
            calls.append((args, kwargs))
            return np.full((2, 8, 8, 3), 7, "uint8")

    images = draw(Model(), 3, 2, 1.5, 0.9, 4, print)
    assert [image.shape for image in images] == [(256, 256, 3)] * 2
    draw(Model(), "any", 2, 1, 1.0, 0)
    names = ("guidance_scale", "temperature", "seed", "on_row")
    assert calls == [
        ((2, [3, 3]), dict(zip(names, (1.5, 0.9, 4, print), strict=True))),
        ((2, None), dict(zip(names, (1, 1.0, 0, None), strict=True))),
    ]
    with pytest.raises(ValueError, match="choose one"):
        draw(Model(), "any", 2, 1.5, 1.0, 0)


def test_paint_is_the_mask():
    background = np.zeros((64, 96, 4), "uint8")
    background[:, 16:80] = (10, 200, 30, 255)
    layers = np.zeros((2, 64, 96, 4), "uint8")
    layers[0, 0, 16] = 255  # the square's first pixel
    layers[1, 40:44, 48:56, 3] = 1
    layers[1, :, :15] = 255  # outside of the square
    drawing = {"background": background, "layers": list(layers)}
    image, mask = read_drawing(drawing, (8, 8))
    assert (image == (10, 200, 30)).all()
    expected = np.zeros((8, 8), bool)
    expected[0, 0] = expected[5, 4] = True
    np.testing.assert_array_equal(mask, expected)
    for nothing in (None, {"background": None, "layers": []}):
        with pytest.raises(ValueError, match="Drop an image first"):
            read_drawing(nothing, (8, 8))


def test_variants_are_of_what_was_chosen():
    image, mask = np.zeros((8, 8, 3), "uint8"), np.ones((8, 8), bool)
    calls = []

    def inpaint(images, mask, **options):
        calls.append((images.shape, mask.shape, options))
        return np.full((1, 2, 8, 8, 3), 9, "uint8")

    pictures = variants(inpaint, image, (mask,), 2, 2, 0.9, 5)
    assert [caption for _, caption in pictures] == [
        "original",
        "variant 1",
        "variant 2",
    ]
    assert [int(picture.max()) for picture, _ in pictures] == [0, 9, 9]
    options = {"labels": [2], "num_variants": 2, "temperature": 0.9, "seed": 5}
    assert calls == [((1, 8, 8, 3), (8, 8), options)]


def test_surprise_shows_the_bits_of_each_level():
    class Model:
        vqvae = make_vqvae((2, 2))

        def surprise(self, images, labels):
            assert images.shape == (1, 8, 8, 3) and labels == [1]
            # 4 bits are those of no prior, 6 the brightest colour.
            maps = tuple(np.full((1, 8, 8), bits) for bits in (0.0, 6.0))
            return Surprise(maps, maps, np.array([2.5]), np.array([-0.25]))

    text, pictures = surprise(Model(), np.zeros((8, 8, 3), "uint8"), 1)
    assert "8x8 pixels: **2.500 bits per pixel**, -0.250 beyond" in text
    assert [caption for _, caption in pictures] == [
        "the image",
        "top: 0.0 bits per code",
        "bottom: 6.0 bits per code",
    ]
    assert pictures[1][0].max() < 10 and pictures[2][0].max() > 245


def fails(capsys, *argv):
    """The one line on stderr of a command that fails with exit code 2."""
    assert main(["demo", *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-vqvae2: error: ")
    assert error.count("\n") == 1
    return error


def test_errors_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    error = fails(capsys)
    assert "needs Gradio: pip install 'keras-vqvae2[demo]'" in error
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: "there")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = fails(capsys, "--port", port)
    assert f"port {port}" in error and "another --host or --port" in error
    assert "port 70000" in fails(capsys, "--port", "70000")
    assert "./no-model" in fails(capsys, "--model", "./no-model")

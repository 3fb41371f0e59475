import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).integers(0, 256, (3, 8, 8, 3), "uint8")


MASK = np.zeros((8, 8), bool)
MASK[3:5, 1] = True


def _codes_of(model, monkeypatch, edit):
    """What `edit` decodes."""
    decoded = []
    decode = model.decode
    monkeypatch.setattr(
        model, "decode", lambda x, **_: decoded.append(x) or decode(x)
    )
    result = edit()
    return result, decoded[0]


def test_only_codes_under_the_mask_are_drawn(model, images, monkeypatch):
    before = model.encode(images)
    result, codes = _codes_of(
        model,
        monkeypatch,
        lambda: model.inpaint(images, MASK, [0, 1, 2], num_variants=4),
    )
    assert result.shape == (3, 4, 8, 8, 3) and result.dtype == np.uint8
    # Rows 3 and 4, column 1: of 4x4 cells two, of 2x2 cells two.
    touched = np.zeros((2, 2), bool), np.zeros((4, 4), bool)
    touched[0][:, 0] = True
    touched[1][1:3, 0] = True
    for drawn, old, cells in zip(codes, before, touched, strict=True):
        drawn = drawn.reshape(3, 4, *drawn.shape[1:])
        changed = drawn != old[:, None]
        assert not changed[..., ~cells].any()
        assert (changed.any(axis=(0, 1)) == cells).all()


def test_pixels_far_from_the_hole_are_the_images_own():
    model = make_model()
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), "uint8")
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = True
    # The cells drawn are rows and columns 0 to 3; the last column is 4 away.
    result = model.inpaint(image, mask, num_candidates=1)[0, 0]
    assert (result[7] == image[0, 7]).all()
    assert (result[:, 7] == image[0, :, 7]).all()
    assert (result[:4, :4] != image[0, :4, :4]).any()
    # In between the share of the decoded image falls from 1 to 0.
    flat = np.zeros((1, 8, 8, 3), "uint8")
    model.decode = lambda codes, **_: np.full((1, 8, 8, 3), 200, "uint8")
    result = model.inpaint(flat, mask, num_candidates=1)[0, 0, 0, :, 0]
    assert result.tolist() == [200, 200, 200, 200, 150, 100, 50, 0]


def test_a_variant_depends_on_seed_and_numbers_alone(model, images):
    options = {"num_candidates": 2, "seed": 5}
    many = model.inpaint(
        images, MASK, [0, 1, 2], num_variants=3, batch_size=5, **options
    )
    masks = np.stack([MASK, MASK])
    few = model.inpaint(images[:2], masks, [0, 1], num_variants=2, **options)
    np.testing.assert_array_equal(many[:2, :2], few)
    assert (many[:, 0] != many[:, 1]).any()
    varied = model.vary(images, 1, num_variants=2, batch_size=4)
    np.testing.assert_array_equal(
        varied[:, :1], model.vary(images, 1, batch_size=2)
    )
    assert (varied[:, 0] != varied[:, 1]).any()


def test_vary_keeps_the_coarsest_maps(model, images, monkeypatch):
    top, bottom = model.encode(images)
    _, codes = _codes_of(
        model, monkeypatch, lambda: model.vary(images, labels=[0, 0, 1])
    )
    np.testing.assert_array_equal(codes[0], top)
    assert (codes[1] != bottom).any()
    drawn = model.generate_codes(labels=[0, 0, 1], codes=[top])
    np.testing.assert_array_equal(codes[1], drawn[1])


def test_wrong_input(model, images, monkeypatch):
    bare = keras_vqvae2.VQVAE2(model.vqvae)
    large = np.zeros((1, 16, 8, 3), "uint8")
    monkeypatch.setattr(model, "encode", None)  # before any work
    for call, message in (
        (lambda: model.inpaint(images, MASK * 1), "pass `mask > 127`"),
        (lambda: model.inpaint(images, MASK[:4]), r"shape \(8, 8\) or"),
        (lambda: model.inpaint(images, MASK & False), "False everywhere"),
        (lambda: model.inpaint(images[0], MASK), "use `image\\[None\\]`"),
        (
            lambda: model.inpaint(large, np.ones((16, 8), bool)),
            "images of 8x8 pixels. Received 8x16: crop or resize",
        ),
        (lambda: model.vary(large), "images of 8x8 pixels"),
        (lambda: model.vary(images, 2), "`levels` must be"),
        (lambda: model.vary(images, 0), "`levels` must be"),
        (lambda: model.vary(images, labels=[0]), "Received 1 for 3"),
        (lambda: bare.inpaint(images, MASK), "no prior of the level 'top'"),
        (lambda: bare.vary(images), "no prior of the level 'bottom'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    monkeypatch.undo()
    for call, message in (
        (lambda: model.vary(images, num_variants=0), "`num_variants`"),
        (lambda: model.vary(images, labels=[0, 1, 4]), r"Labels must be in"),
        (lambda: model.inpaint(images, MASK, num_candidates=0), "candidates`"),
        (lambda: model.vary(images, seed=-1), "`seed` must be"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.fixture
def files(model, images, tmp_path, monkeypatch):
    """A current folder with a model, images and a mask."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "photos" / f"{i}.png")
    Image.fromarray(np.uint8(255 * MASK)).save("mask.png")
    monkeypatch.setattr(
        keras_vqvae2, "from_pretrained", lambda _: model, raising=False
    )
    return tmp_path


def test_commands(model, images, files, capsys):
    inpaint = "inpaint photos/1.png --mask mask.png --num-variants 2 -o a.png"
    assert main([*inpaint.split(), "--label", "2", "--seed", "3"]) == 0
    expected = model.inpaint(images[1:2], MASK, [2], num_variants=2, seed=3)[0]
    picture = load_image("a.png")
    np.testing.assert_array_equal(picture[:, :8], expected[0])
    np.testing.assert_array_equal(picture[:, -8:], expected[1])
    assert main("vary photos/1.png -o b.png --temperature 0.5".split()) == 0
    np.testing.assert_array_equal(
        load_image("b.png"), model.vary(images[1:2], temperature=0.5)[0, 0]
    )
    capsys.readouterr()
    assert main("surprise photos -o maps".split()) == 0
    lines = capsys.readouterr().out.splitlines()
    excess = model.surprise(images).excess_scores
    ranked = [f"photos/{i}.png" for i in np.argsort(-excess)]
    assert [line.partition(":")[0] for line in lines] == ranked
    assert f"{excess.max():+.3f} more than expected" in lines[0]
    picture = load_image("maps/0.png")
    assert picture.shape == (8, 8 * 3 + 2 * 4, 3)
    np.testing.assert_array_equal(picture[:, :8], images[0])


def test_commands_fail_before_the_work(files, capsys, monkeypatch):
    Image.new("RGB", (8, 6)).save("photos/small.png")
    for command, message in (
        ("inpaint photos/0.png --mask mask.png -o mask.png", "replace the in"),
        ("inpaint photos/0.png --mask mask.png -o a.txt", "name a .png"),
        ("inpaint photos/0.png --mask photos/small.png -o a.png", "--mask"),
        ("vary photos/0.png -o photos/0.png --overwrite", "replace the input"),
        ("vary photos/0.png -o a.png --levels 2", "--levels must be"),
        ("surprise photos -o maps", "8x8 (photos/0.png) and 8x6"),
        ("surprise photos/small.png -o a.png", "images of 8x8 pixels"),
    ):
        assert main(command.split()) == 2, command
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(path.name for path in files.iterdir()) == [
        "mask.png",
        "photos",
    ]

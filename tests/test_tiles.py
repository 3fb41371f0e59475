"""Tiles of a large image give the results of the whole."""

import logging

import keras
import numpy as np
import pytest
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import tiles
from keras_vqvae2.tiles import Tiling
from keras_vqvae2.tiles import _spans

CASES = [
    # strides, residual blocks, image size
    ((2,), 1, (34, 52)),
    ((4, 2), 1, (320, 264)),
    ((2, 2, 2), 0, (160, 200)),
]


def make_model(strides, num_residual_blocks):
    vqvae = make_vqvae(strides, num_residual_blocks=num_residual_blocks)
    rng = np.random.default_rng(0)
    for quantizer in vqvae.quantizers:
        embeddings = quantizer.embeddings
        embeddings.assign(rng.normal(size=embeddings.shape) * 0.5)
        quantizer.counts.assign(rng.random(embeddings.shape[0]) ** 9)
    return keras_vqvae2.VQVAE2(vqvae)


def small_tiles(monkeypatch):
    monkeypatch.setattr(tiles, "MAX_PIXELS", 1000)
    monkeypatch.setattr(tiles, "_SIDE", 1)
    monkeypatch.setattr(tiles, "_SIDE_IN_RADII", 3)


def photograph(size):
    return np.random.default_rng(1).integers(
        256, size=(1, *size, 3), dtype="uint8"
    )


def test_jax_compiles_no_smaller_last_batch():
    model = make_model((2,), 0)
    image = photograph((8, 12))
    images = np.concatenate([image, image // 2, image // 3])
    (whole,) = model.encode(images, batch_size=3)
    shapes = []
    encode = model._encode
    model._encode = lambda x: shapes.append(len(x)) or encode(x)
    (codes,) = model.encode(images, batch_size=2)
    np.testing.assert_array_equal(codes, whole)
    assert (codes[0] != codes[2]).any()
    jax = keras.backend.backend() == "jax"
    assert shapes == [2, 2 if jax else 1]
    # A single batch stays as it is.
    assert len(model.encode(images[:1], batch_size=2)[0]) == 1
    assert shapes[2:] == [1]
    decoded = model.decode([codes], batch_size=2)
    np.testing.assert_allclose(decoded[2:], model.decode([codes[2:]]), atol=1)


@pytest.mark.parametrize(("strides", "num_residual_blocks", "size"), CASES)
def test_tiles_give_the_results_of_the_whole(
    strides, num_residual_blocks, size, monkeypatch, caplog
):
    model = make_model(strides, num_residual_blocks)
    image = photograph(size)
    codes = model.encode(image)
    assert all(len(np.unique(level)) > 1 for level in codes)
    decoded = model.decode(codes)
    coarse = model.decode(codes, levels=1)
    small_tiles(monkeypatch)
    shapes = []
    encode = model._encode
    model._encode = lambda x: shapes.append(tuple(x.shape)) or encode(x)
    with caplog.at_level(logging.INFO, "keras_vqvae2"):
        tiled = model.encode(image)
    assert len(shapes) > 1 and len(set(shapes)) == 1
    assert "Encoded 100% of an image" in caplog.text
    for ours, theirs in zip(tiled, codes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in (
        (model.decode(codes), decoded),
        (model.decode(codes, levels=1), coarse),
        (model.reconstruct(image), decoded),
    ):
        # Rounded from the other side now and then.
        difference = np.abs(np.int32(ours) - theirs)
        assert difference.max() <= 1 and difference.mean() < 0.001
    # Without margins they would not.
    monkeypatch.setattr(tiles, "_SIDE", size[1] // 2)
    model._tiling.encoder_radius = model._tiling.decoder_radius = 0
    assert any(
        (ours != theirs).any()
        for ours, theirs in zip(model.encode(image), codes, strict=True)
    )
    assert np.abs(np.int32(model.decode(codes)) - decoded).max() > 1


def test_rate_weight_in_tiles(monkeypatch):
    model = make_model((4, 2), 1)
    image = photograph((264, 200))
    codes = model.encode(image, rate_weight=0.2)
    assert any(
        (ours != nearest).any()
        for ours, nearest in zip(codes, model.encode(image), strict=True)
    )
    small_tiles(monkeypatch)
    for ours, theirs in zip(
        model.encode(image, rate_weight=0.2), codes, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("strides", "num_residual_blocks", "size"), CASES)
def test_radius(strides, num_residual_blocks, size):
    """Nothing beyond it matters to a code's vector or to a pixel."""
    model = make_model(strides, num_residual_blocks)
    tiling = Tiling(strides, num_residual_blocks)
    vqvae, unit = model.vqvae, tiling.image_unit
    side = 2 * unit * -(-tiling.encoder_radius // unit) + 2 * unit
    image = keras.ops.convert_to_tensor(photograph((unit, 2 * side)))

    def finest(image):
        codes = vqvae.encode(image)[:-1]
        return keras.ops.convert_to_numpy(vqvae.vectors(image, codes))[0]

    before = finest(image)
    other = np.array(image)
    other[:, :, side:] = 255 - other[:, :, side:]
    changed = np.abs(finest(other) - before).max(axis=(0, 2)) > 1e-5
    reached = (side // strides[0] - np.argmax(changed)) * strides[0]
    assert 0 < reached <= tiling.encoder_radius

    shapes = vqvae.code_shapes(unit, 2 * side)
    codes = [np.zeros((1, *shape), "int32") for shape in shapes]
    before = keras.ops.convert_to_numpy(vqvae.decode(codes))
    for level, code_unit in zip(codes, tiling.code_units, strict=True):
        level[:, :, code_unit * side // unit :] = 5
    after = keras.ops.convert_to_numpy(vqvae.decode(codes))
    changed = np.abs(after - before).max(axis=(0, 1, 3)) > 1e-4
    reached = side - np.argmax(changed)
    assert 0 < reached <= tiling.decoder_radius


@pytest.mark.parametrize("size", range(1, 60))
@pytest.mark.parametrize(("side", "margin"), [(7, 0), (7, 2), (7, 3), (30, 5)])
def test_spans_cover_each_place_once(size, side, margin):
    spans = _spans(size, side, margin)
    assert [x for *_, a, b in spans for x in range(a, b)] == list(range(size))
    for start, stop, first, last in spans:
        assert stop - start == min(side, size)
        assert 0 <= start and stop <= size
        assert first - start >= margin or start == first == 0
        assert stop - last >= margin or stop == last == size


def test_large_images_go_one_by_one(monkeypatch):
    model = make_model((2,), 0)
    images = np.concatenate([photograph((16, 16))] * 5)
    codes = model.encode(images)
    batches = []
    encode = model._encode
    model._encode = lambda x: batches.append(len(x)) or encode(x)
    monkeypatch.setattr(tiles, "MAX_PIXELS", 2 * 256)
    np.testing.assert_array_equal(model.encode(images)[0], codes[0])
    # On JAX, a smaller last batch is padded.
    assert batches == [2, 2, 2 if keras.backend.backend() == "jax" else 1]

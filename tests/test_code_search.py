import keras
import numpy as np
import pytest
from keras import ops
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.backend.gradients import compile_gradients
from keras_vqvae2.code_search import CodeSearch


def make_model(strides=(2, 2), **changes):
    """Random, with pixels that depend on the codes."""
    vqvae = make_vqvae(strides, num_residual_blocks=1, **changes)
    rng = np.random.default_rng(0)
    for weight in vqvae.decoders[-1].trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.3)
    return keras_vqvae2.VQVAE2(vqvae, "tiny")


def pictures(number=3, height=16, width=12):
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (number, height, width, 3), "uint8")


def errors(model, images, codes):
    decoded = ops.convert_to_numpy(model.vqvae.decode(codes))
    return np.square(decoded - images.astype("float64")).mean((1, 2, 3))


def test_gradients_are_those_of_finite_differences():
    model = make_model()
    search = CodeSearch(model.vqvae)
    images = pictures(2).astype("float32")
    codes = model.encode(images)
    joined = search._coarser(codes[0])
    vectors = ops.convert_to_numpy(search._lookup(codes[1])).copy()
    evaluate = compile_gradients(model.vqvae, search._errors)
    values, gradients = map(
        ops.convert_to_numpy, evaluate(vectors, images, joined)
    )
    # 127.5 and the number of pixels and channels, from a pixel's error.
    expected = errors(model, images, codes) / 127.5**2 * 16 * 12 * 3
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    close = []
    rng = np.random.default_rng(2)
    for _ in range(24):
        place = tuple(rng.integers(0, vectors.shape))
        ends = []
        for sign in (1, -1):
            moved = vectors.copy()
            moved[place] += sign * 1e-2
            ends.append(
                ops.convert_to_numpy(evaluate(moved, images, joined)[0])
            )
        difference = (ends[0] - ends[1]) / 2e-2
        # No other image's error depends on it.
        assert difference[1 - place[0]] == 0
        close.append(
            np.isclose(gradients[place], difference[place[0]], 0.05, 0.05)
        )
    # ReLUs and the ends of the pixels' range have kinks.
    assert np.mean(close) > 0.75


@pytest.mark.parametrize("strides", [(4,), (2, 2), (2, 2, 2)])
def test_no_image_gets_worse_and_most_get_better(strides):
    model = make_model(strides)
    images = pictures()[:, :, :8]
    plain = model.encode(images)
    searched = model.encode(images, search_steps=12)
    for before, after in zip(plain[:-1], searched[:-1], strict=True):
        np.testing.assert_array_equal(before, after)
    assert searched[-1].dtype == np.int32
    assert searched[-1].min() >= 0 and searched[-1].max() < 16
    before = errors(model, images, plain)
    after = errors(model, images, searched)
    assert (after <= before * (1 + 1e-6)).all()
    assert after.mean() < 0.99 * before.mean()
    more = errors(model, images, model.encode(images, search_steps=40))
    assert (more <= after * (1 + 1e-6)).all()


@pytest.mark.not_on_jax
def test_finds_the_best_of_all_codes():
    """With one code map of 2x1 and few codes, all can be tried."""
    model = make_model((4,), num_embeddings=4)
    images = pictures(6, 8, 4)
    best = np.min(
        [
            errors(model, images, (np.tile([[[a], [b]]], (6, 1, 1)),))
            for a in range(4)
            for b in range(4)
        ],
        axis=0,
    )
    found = errors(model, images, model.encode(images, search_steps=60))
    plain = errors(model, images, model.encode(images))
    assert (found >= best * (1 - 1e-5)).all()
    assert (found - best).sum() < 0.75 * (plain - best).sum()


@pytest.mark.not_on_jax
def test_the_same_image_has_the_same_codes(monkeypatch):
    model = make_model()
    images = pictures(4)
    images[3] = images[0]
    codes = model.encode(images, search_steps=5)[1]
    np.testing.assert_array_equal(codes[3], codes[0])
    monkeypatch.setattr(keras_vqvae2.code_search, "_BATCH_PIXELS", 16 * 12 * 2)
    parts = model.encode(images, search_steps=5)[1]
    assert (parts == codes).mean() > 0.99


@pytest.mark.not_on_jax
def test_files_of_any_size():
    model = make_model()
    images = [pictures(1, 13, 10)[0], pictures(1, 9, 12)[0]]
    plain = model.decompress(model.compress(images, "raw"))
    searched = model.decompress(model.compress(images, "raw", search_steps=9))
    for image, before, after in zip(images, plain, searched, strict=True):
        assert after.shape == image.shape
        worse, better = (
            np.square(np.float64(x) - image).mean() for x in (before, after)
        )
        # The search also sees the rows and columns that fill the last codes.
        assert better < 1.01 * worse


@pytest.mark.not_on_jax
def test_half_precision():
    vqvae = make_vqvae((2, 2), dtype="mixed_bfloat16")
    model = keras_vqvae2.VQVAE2(vqvae)
    codes = model.encode(pictures(), search_steps=3)
    assert codes[1].shape == (3, 8, 6)


@pytest.mark.parametrize("steps", [-1, 1.5, "3", None, True, 10**6])
def test_wrong_numbers_of_steps(steps):
    model = make_model()
    for function in (model.encode, model.compress):
        with pytest.raises(ValueError, match="`search_steps` must be"):
            function(pictures(), search_steps=steps)


def test_what_cannot_be_searched(monkeypatch):
    model = make_model()
    with pytest.raises(
        ValueError, match="use one of them. Received: 2 and 0.5"
    ):
        model.encode(pictures(), rate_weight=0.5, search_steps=2)
    monkeypatch.setattr(keras_vqvae2.code_search, "MAX_PIXELS", 100)
    for function in (model.encode, model.compress):
        with pytest.raises(ValueError, match="100 pixels. .* 16 rows, 12"):
            function(pictures(), search_steps=2)


def test_the_weights_stay():
    model = make_model()
    before = [ops.convert_to_numpy(w).copy() for w in model.vqvae.weights]
    model.encode(pictures(), search_steps=2)
    for weight, array in zip(model.vqvae.weights, before, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), array)
    assert keras.config.floatx() == "float32"

import keras
import numpy as np
import pytest
from tiny_models import make_model

import keras_vqvae2


@pytest.mark.parametrize("labels", [None, [2, 0, 1]])
def test_by_hand(labels):
    model = make_model()
    images = np.random.default_rng(3).integers(0, 256, (3, 8, 8, 3), "uint8")
    surprise = model.surprise(images, labels, batch_size=2)
    codes = [np.int32(x) for x in model.encode(images)]
    bits = excess = 0.0
    for level, name in enumerate(("top", "bottom")):
        inputs = {
            "codes": tuple(codes[: level + 1]),
            "labels": np.int32([3] * 3 if labels is None else labels),
        }
        logits = np.float64(
            keras.ops.convert_to_numpy(model.priors[name](inputs))
        )
        p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        mine = np.take_along_axis(p, codes[level][..., None], axis=-1)[..., 0]
        given = -np.log2(mine)
        beyond = given + (p * np.log2(p)).sum(axis=-1)
        bits = bits + given.sum(axis=(1, 2)) / 64
        excess = excess + beyond.sum(axis=(1, 2)) / 64
        cell = np.ones((1, *[8 // given.shape[1]] * 2))
        for maps, expected in (
            (surprise.maps, given),
            (surprise.excess_maps, beyond),
        ):
            assert maps[level].dtype == np.float32
            np.testing.assert_allclose(
                maps[level], np.kron(expected, cell), rtol=1e-4, atol=1e-4
            )
    np.testing.assert_allclose(surprise.scores, bits, rtol=1e-4)
    np.testing.assert_allclose(surprise.excess_scores, excess, atol=1e-4)


def test_wrong_input(monkeypatch):
    model = make_model()
    images = np.zeros((2, 8, 8, 3), "uint8")
    bare = keras_vqvae2.VQVAE2(model.vqvae)
    monkeypatch.setattr(model, "encode", None)
    for call, message in (
        (lambda: model.surprise(images[:, :4]), "8x8 pixels. Received 8x4"),
        (lambda: model.surprise(images, [0]), "Received 1 for 2"),
        (lambda: bare.surprise(images), "no prior of the level 'top'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()

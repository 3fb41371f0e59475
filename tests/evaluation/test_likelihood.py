import keras
import numpy as np
import pytest
from tiny_models import make_model

from keras_vqvae2.evaluation import negative_log_likelihood


@pytest.mark.parametrize("num_classes", [None, 3])
def test_by_hand(num_classes):
    model = make_model(num_classes=num_classes)
    generator = np.random.default_rng(0)
    top = generator.integers(0, 16, (5, 2, 2))
    bottom = generator.integers(0, 16, (5, 4, 4))
    labels = np.array([0, 1, 2, 2, 1]) if num_classes else None
    metrics = negative_log_likelihood(
        model, (top, bottom), labels, batch_size=2
    )
    bits = 0
    for level, (name, codes) in enumerate(
        {"top": (top,), "bottom": (top, bottom)}.items()
    ):
        inputs = {"codes": tuple(np.int32(x) for x in codes)}
        if num_classes:
            inputs["labels"] = np.int32(labels)
        logits = keras.ops.convert_to_numpy(model.priors[name](inputs))
        logits = logits.astype("float64")
        log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        mine = np.take_along_axis(log_p, codes[level][..., None], axis=-1)
        row = metrics[name]
        np.testing.assert_allclose(row["nats_per_code"], -mine.mean(), 1e-5)
        np.testing.assert_allclose(
            row["bits_per_code"], -mine.mean() / np.log(2), 1e-5
        )
        np.testing.assert_allclose(row["uniform_nats_per_code"], np.log(16))
        bits -= mine.sum() / np.log(2) / 5
    np.testing.assert_allclose(metrics["bits_per_pixel"], bits / 64, 1e-5)


def test_wrong_input():
    model = make_model()
    top, bottom = np.zeros((3, 2, 2), int), np.zeros((3, 4, 4), int)
    labels = np.array([0, 1, 2])
    for codes, given, message in (
        ((top,), labels, "2 maps. Received: 1"),
        ((bottom, bottom), labels, "prior of top is for maps"),
        ((top, bottom), None, "class-conditional: pass `labels`"),
        ((top, bottom), labels[:2], r"3 integers in 0\.\.2"),
        ((top, bottom), labels + 2, r"3 integers in 0\.\.2"),
    ):
        with pytest.raises(ValueError, match=message):
            negative_log_likelihood(model, codes, given)

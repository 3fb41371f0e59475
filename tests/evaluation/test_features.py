import sys

import keras
import numpy as np
import pytest

from keras_vqvae2.evaluation import FeatureExtractor
from keras_vqvae2.evaluation import features as features_module
from keras_vqvae2.evaluation import inception_v3
from keras_vqvae2.evaluation import make_classifier
from keras_vqvae2.evaluation import torch_fidelity_inception


def images(number=5, size=9):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (number, size, size, 3), "uint8")


def test_features_and_classes_of_a_classifier():
    classifier = make_classifier(3, widths=(4,))
    extract = FeatureExtractor.from_classifier(classifier, "critic")
    extract.batch_size = 2
    features, probabilities = extract(images())
    assert features.shape == (5, 4) and features.dtype == "float32"
    dense = classifier.get_layer("logits")
    logits = classifier.predict_on_batch(images())
    kernel, bias = map(keras.ops.convert_to_numpy, dense.weights)
    np.testing.assert_allclose(features @ kernel + bias, logits, rtol=1e-4)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-5)
    assert extract.name == "critic"


def test_layer_by_name_and_penultimate():
    inputs = keras.Input((9, 9, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(inputs)
    x = keras.layers.ReLU(negative_slope=1, name="same")(x)
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    expected = images().mean(axis=(1, 2))
    for extract in (
        FeatureExtractor(model, "mean"),
        FeatureExtractor.from_classifier(model),
    ):
        features, probabilities = extract(images())
        np.testing.assert_allclose(features, expected, rtol=1e-5)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    with pytest.raises(ValueError, match="no layer 'other'.*mean, same"):
        FeatureExtractor(model, "other")


def test_a_model_of_features_alone():
    inputs = keras.Input((9, 9, 3))
    model = keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(inputs))
    features, probabilities = FeatureExtractor(model)(images())
    np.testing.assert_array_equal(features, images().max(axis=(1, 2)))
    assert probabilities is None


def test_wrong_features():
    inputs = keras.Input((9, 9, 3))
    maps = keras.Model(inputs, keras.layers.ReLU()(inputs))
    with pytest.raises(ValueError, match=r"\(images, dim\).*5, 9, 9, 3"):
        FeatureExtractor(maps)(images())
    x = keras.layers.GlobalMaxPooling2D()(inputs)
    nan = keras.Model(inputs, keras.layers.Rescaling(np.nan)(x))
    with pytest.raises(ValueError, match="finite.* in 5 of 5"):
        FeatureExtractor(nan)(images())


def fake_inception():
    inputs = keras.Input((299, 299, 3))
    x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(inputs)
    return keras.Model(inputs, keras.layers.Softmax()(x))


def test_inception_gets_pixels_from_minus_1_to_1(monkeypatch):
    monkeypatch.setattr(keras.applications, "InceptionV3", fake_inception)
    extract = inception_v3()
    plain = np.zeros((2, 8, 8, 3), "uint8")
    plain[1] = 255
    features, probabilities = extract(plain)
    np.testing.assert_allclose(features, [[-1] * 3, [1] * 3], atol=1e-5)
    np.testing.assert_allclose(probabilities, 1 / 3, rtol=1e-5)


def test_inception_offline(monkeypatch):
    def fail():
        raise Exception("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", fail)
    with pytest.raises(ConnectionError, match="once with a network"):
        inception_v3()


def test_without_torch_fidelity(monkeypatch):
    assert "torch_fidelity" not in vars(features_module)
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(ImportError, match="pip install torch-fidelity"):
        torch_fidelity_inception()


def test_torch_fidelity_offline(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("torch_fidelity")
    arguments = {}

    def fail(url, **kwargs):
        arguments.update(kwargs)
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    with pytest.raises(ConnectionError, match="91 MB.*no network"):
        torch_fidelity_inception()
    assert arguments["weights_only"] and arguments["check_hash"]

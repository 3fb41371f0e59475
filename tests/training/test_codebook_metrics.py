import keras
import numpy as np
import pytest

from keras_vqvae2.training import CodebookPerplexity
from keras_vqvae2.training import CodebookUsage


def perplexity(counts):
    shares = counts[counts > 0] / counts.sum()
    return np.exp(-np.sum(shares * np.log(shares)))


def test_over_several_updates():
    batches = np.random.default_rng(0).integers(0, 9, (3, 2, 4))
    usage, entropy = CodebookUsage(12), CodebookPerplexity(12)
    for batch in batches:
        usage.update_state(batch)
        entropy.update_state(keras.ops.convert_to_tensor(batch, "int32"))
    counts = np.bincount(batches.ravel(), minlength=12)
    np.testing.assert_allclose(float(usage.result()), np.mean(counts > 0))
    np.testing.assert_allclose(
        float(entropy.result()), perplexity(counts), rtol=1e-5
    )
    for metric in (usage, entropy):
        metric.reset_state()
        assert float(metric.result()) == 0
        metric.update_state([5])
    assert float(usage.result()) == pytest.approx(1 / 12)
    assert float(entropy.result()) == pytest.approx(1)


def test_extremes():
    entropy = CodebookPerplexity(8)
    entropy.update_state(np.arange(8))
    assert float(entropy.result()) == pytest.approx(8)


def test_weight():
    usage, entropy = CodebookUsage(4), CodebookPerplexity(4)
    for metric in (usage, entropy):
        metric.update_state([0, 1], sample_weight=0.0)
        assert float(metric.result()) == 0
        metric.update_state([0, 0], sample_weight=1.0)
        metric.update_state([1], sample_weight=2.0)
    assert float(usage.result()) == 0.5
    assert float(entropy.result()) == pytest.approx(2)


@pytest.mark.parametrize("metric_class", [CodebookUsage, CodebookPerplexity])
def test_config(metric_class):
    metric = metric_class(7, name="its_name")
    assert metric.get_config() == {
        "name": "its_name",
        "dtype": "float32",
        "num_embeddings": 7,
    }
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(copy) is metric_class
    assert copy.get_config() == metric.get_config()

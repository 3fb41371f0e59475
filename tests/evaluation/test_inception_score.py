import numpy as np
import pytest

from keras_vqvae2.evaluation import inception_score


def softmax(x):
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def test_bounds():
    assert inception_score(np.full((40, 5), 0.2)) == (1.0, 0.0)
    sure = np.eye(5)[np.arange(100) % 5]
    score, deviation = inception_score(sure, splits=5, seed=None)
    np.testing.assert_allclose((score, deviation), (5, 0), atol=1e-12)
    # One class only: sure, and without variety.
    np.testing.assert_allclose(
        inception_score(np.eye(5)[[2] * 100]), (1, 0), atol=1e-12
    )


def test_by_hand():
    p = np.array([[0.5, 0.5], [0.9, 0.1]])
    marginal = [0.7, 0.3]
    divergences = [
        0.5 * np.log(0.5 / marginal[0]) + 0.5 * np.log(0.5 / marginal[1]),
        0.9 * np.log(0.9 / marginal[0]) + 0.1 * np.log(0.1 / marginal[1]),
    ]
    found = inception_score(p, splits=1)
    np.testing.assert_allclose(found, (np.exp(np.mean(divergences)), 0))


def test_against_torch_fidelity():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * np.random.default_rng(0).normal(size=(100, 12))
    expected = peer.isc_features_to_metric(
        torch.from_numpy(logits), splits=4, shuffle=False
    )
    found = inception_score(softmax(logits), splits=4, seed=None)
    np.testing.assert_allclose(
        found,
        (
            expected[peer.KEY_METRIC_ISC_MEAN],
            expected[peer.KEY_METRIC_ISC_STD],
        ),
        rtol=1e-9,
    )


def test_sorted_images_are_shuffled_into_splits():
    sure = np.repeat(np.eye(5), 20, axis=0)  # sorted by class
    in_order, _ = inception_score(sure, splits=5, seed=None)
    shuffled, _ = inception_score(sure, splits=5)
    assert in_order == 1 and shuffled > 4


def test_wrong_input():
    p = np.full((10, 4), 0.25)
    with pytest.raises(ValueError, match="At least 2 images.*Received: 1"):
        inception_score(p[:1])
    with pytest.raises(ValueError, match="10 images are too few for 6 splits"):
        inception_score(p, splits=6)
    with pytest.raises(ValueError, match="sum to 1"):
        inception_score(4 * p, splits=1)
    with pytest.raises(ValueError, match="finite"):
        inception_score(np.full((10, 4), np.nan))

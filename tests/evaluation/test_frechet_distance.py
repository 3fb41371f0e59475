import numpy as np
import pytest

from keras_vqvae2.evaluation import FeatureStatistics
from keras_vqvae2.evaluation import frechet_distance


def whitened(number, dim, seed=0):
    """Vectors whose sample mean is 0 and sample covariance the identity."""
    x = np.random.default_rng(seed).normal(size=(number, dim))
    x -= x.mean(axis=0)
    return x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T


def mixed(number, dim, seed):
    """Vectors of a full covariance, away from zero."""
    generator = np.random.default_rng(seed)
    mix = generator.normal(size=(dim, dim))
    return generator.normal(size=(number, dim)) @ mix + generator.normal()


def distance(a, b):
    return frechet_distance(FeatureStatistics(a), FeatureStatistics(b))


def test_statistics_are_those_of_all_vectors_at_once():
    # Far from zero: a sum of squares in float32 would lose every digit.
    x = np.random.default_rng(0).normal(size=(230, 5)) + 1e5
    statistics = FeatureStatistics()
    for start, stop in ((0, 1), (1, 100), (100, 117), (117, 230)):
        statistics.update(x[start:stop])
    assert statistics.count == 230
    np.testing.assert_allclose(statistics.mean, x.mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(statistics.covariance, np.cov(x.T), atol=1e-9)


def test_float32_features_are_summed_in_float64():
    x = np.random.default_rng(0).normal(size=(50, 3)).astype("float32") + 1000
    expected = np.cov(x.astype("float64").T)
    found = FeatureStatistics(x).covariance
    assert found.dtype == "float64"
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_gaussians_with_a_known_distance():
    x, y = whitened(100, 4), whitened(80, 4, seed=1)
    scale, other = np.array([1, 2, 3, 0.5]), np.array([2, 2, 0.1, 4])
    shift = np.array([1, 0, -2, 0])
    # Of commuting covariances: |m|^2 + sum (s1 - s2)^2.
    expected = (shift**2).sum() + ((scale - other) ** 2).sum()
    found = distance(x * scale, y * other + shift)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert abs(distance(x, x[::-1])) < 1e-12


def test_against_scipy():
    linalg = pytest.importorskip("scipy.linalg")
    a, b = mixed(300, 20, 0), mixed(250, 20, 1)
    covariances = np.cov(a.T), np.cov(b.T)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = (
        ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum()
        + np.trace(covariances[0])
        + np.trace(covariances[1])
        - 2 * np.trace(root)
    )
    np.testing.assert_allclose(distance(a, b), expected, rtol=1e-9)


def test_against_torch_fidelity():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_fid")
    a, b = mixed(300, 40, 2), mixed(300, 40, 3)
    statistics = [
        peer.fid_features_to_statistics(torch.from_numpy(x)) for x in (a, b)
    ]
    expected = peer.fid_statistics_to_metric(*statistics, False)
    np.testing.assert_allclose(
        distance(a, b), expected[peer.KEY_METRIC_FID], rtol=1e-6
    )


def test_singular_covariance():
    # Two dimensions vary; the rest are copies and constants of them.
    copies = np.array([[1, 0, 1, 0, 0], [0, 1, 0, 0, 1]])
    x, y = whitened(40, 2) @ copies, 3 * whitened(40, 2, seed=1) @ copies
    # Both lie in the plane of `copies`, where they are 2 I and 18 I.
    expected = 2 * (np.sqrt(18) - np.sqrt(2)) ** 2
    np.testing.assert_allclose(distance(x, y), expected, rtol=1e-7)


def test_too_few_images_warn():
    x = mixed(4, 4, 0)
    with pytest.warns(UserWarning, match="4 images are too few.* 4 features"):
        assert np.isfinite(distance(x, x + 1))


def test_wrong_input():
    x = whitened(10, 3)
    with pytest.raises(ValueError, match="at least two images. Received: 1"):
        distance(x[:1], x)
    with pytest.raises(ValueError, match="vectors of 3 and 2"):
        distance(x, x[:, :2])
    with pytest.raises(ValueError, match="of 3 features.*vectors of 2"):
        FeatureStatistics(x).update(x[:, :2])
    with pytest.raises(ValueError, match="shape .images, dim.*10,"):
        FeatureStatistics(x[:, 0])
    for wrong in (np.nan, np.inf):
        bad = x.copy()
        bad[3, 1] = wrong
        statistics = FeatureStatistics(x)
        with pytest.raises(ValueError, match="finite.* in 1 of 10 vectors"):
            statistics.update(bad)
        assert statistics.count == 10

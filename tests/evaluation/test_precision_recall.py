import numpy as np
import pytest

from keras_vqvae2.evaluation import precision_recall


def by_hand(real, generated, k):
    def radii(x):
        distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
        return np.sort(distances, axis=1)[:, k]  # the 0th is itself

    distances = np.linalg.norm(real[:, None] - generated[None], axis=-1)
    return (
        (distances <= radii(real)[:, None]).any(axis=0).mean(),
        (distances <= radii(generated)).any(axis=1).mean(),
    )


def sets(dtype="float64"):
    generator = np.random.default_rng(0)
    real = generator.normal(size=(57, 3)) + 3
    generated = 0.8 * generator.normal(size=(43, 3)) + 3.9
    return real.astype(dtype), generated.astype(dtype)


@pytest.mark.parametrize("neighbors", [1, 3])
@pytest.mark.parametrize("block_size", [4, 10, 2048])
def test_by_hand_and_in_blocks(neighbors, block_size):
    real, generated = sets()
    expected = by_hand(real, generated, neighbors)
    assert 0 < min(expected) < max(expected) < 1
    found = precision_recall(real, generated, neighbors, block_size)
    assert found == expected
    assert (
        precision_recall(generated, real, neighbors, block_size)
        == (expected[::-1])
    )


def test_against_torch_fidelity():
    torch = pytest.importorskip("torch")
    peer = pytest.importorskip("torch_fidelity.metric_prc")
    real, generated = sets("float32")
    expected = peer.calculate_precision_recall_full(
        torch.from_numpy(generated), torch.from_numpy(real)
    )
    np.testing.assert_allclose(
        precision_recall(real, generated), expected, rtol=1e-6
    )


def test_dropped_and_invented_modes():
    generator = np.random.default_rng(1)
    modes = [generator.normal(size=(20, 3)) + 100 * i for i in range(4)]
    # Half of the real modes, each image again.
    assert precision_recall(
        np.concatenate(modes), np.concatenate(modes[:2])
    ) == (1, 0.5)
    # All of them, and as many that are not real.
    assert precision_recall(
        np.concatenate(modes[:2]), np.concatenate(modes)
    ) == (0.5, 1)


def test_far_from_zero_in_float32():
    real, generated = sets()
    found = precision_recall(
        (real + 1000).astype("float32"), (generated + 1000).astype("float32")
    )
    np.testing.assert_allclose(found, by_hand(real, generated, 3), atol=0.03)


def test_wrong_input():
    real, generated = sets()
    with pytest.raises(ValueError, match="At least 4 images.*Received: 3"):
        precision_recall(real, generated[:3])
    with pytest.raises(ValueError, match="vectors of 3 and 2"):
        precision_recall(real, generated[:, :2])
    with pytest.raises(ValueError, match="`neighbors` must be"):
        precision_recall(real, generated, neighbors=0)
    generated[0, 0] = np.nan
    with pytest.raises(ValueError, match="finite.* in 1 of 43"):
        precision_recall(real, generated)

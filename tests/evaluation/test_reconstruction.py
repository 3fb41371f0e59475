import numpy as np
import pytest
from tiny_models import make_model

from keras_vqvae2.evaluation import ReconstructionMetrics
from keras_vqvae2.evaluation import code_usage
from keras_vqvae2.evaluation import ssim


def test_code_usage():
    metrics = code_usage(np.array([[0, 0], [3, 3]]), 8)
    assert metrics == {
        "codes_used": 0.25,
        "perplexity": 2.0,
        "entropy_bits": 1.0,
    }
    metrics = code_usage(np.array([1, 1, 1, 2]), 4)
    entropy = 0.75 * np.log2(4 / 3) + 0.25 * 2
    np.testing.assert_allclose(metrics["entropy_bits"], entropy)
    for wrong in ([8], [-1], []):
        with pytest.raises(ValueError, match=r"Codes must be in 0\.\.7"):
            code_usage(np.array(wrong, int), 8)


def test_ssim_of_one_window():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 256, (2, 1, 11, 11, 1)).astype("uint8")
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    a, b = x[0, ..., 0] / 255, y[0, ..., 0] / 255
    mean_a, mean_b = (window * a).sum(), (window * b).sum()
    var_a = (window * a**2).sum() - mean_a**2
    var_b = (window * b**2).sum() - mean_b**2
    covariance = (window * a * b).sum() - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    expected /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    np.testing.assert_allclose(ssim(x, y), [expected], rtol=1e-4)
    np.testing.assert_allclose(ssim(x, x), [1], rtol=1e-6)


def test_ssim_of_other_dtypes():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (1, 16, 16, 3), "uint8")
    y = np.clip(x + rng.integers(-20, 20, x.shape), 0, 255).astype("uint8")
    for dtype in ("int64", "int16", "float64"):
        for other in (y, y.astype(dtype)):
            np.testing.assert_allclose(
                ssim(x.astype(dtype), other), ssim(x, y), rtol=1e-6
            )


def test_ssim_of_wrong_input():
    x = np.zeros((2, 16, 16, 3), "uint8")
    with pytest.raises(ValueError, match="same shape"):
        ssim(x, x[:1])
    with pytest.raises(ValueError, match="11x11"):
        ssim(x[:, :8], x[:, :8])


@pytest.fixture(scope="module")
def model():
    return make_model()


def test_figures_by_hand_whatever_the_batches(model):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (5, 12, 16, 3), "uint8")
    metrics = ReconstructionMetrics(model)
    codes, decoded = metrics.update(images[:3])
    metrics.update(images[3:])
    result = metrics.result()
    expected = model.encode(images)
    for mine, theirs in zip(codes, expected, strict=True):
        np.testing.assert_array_equal(mine, theirs[:3])
    np.testing.assert_array_equal(decoded, model.decode(codes))
    assert result["images"] == 5 and result["size"] == [12, 16]
    for levels in (1, 2):
        row = result[f"levels={levels}"]
        decoded = model.decode(expected, levels)
        errors = (images / 127.5 - 1) - (decoded / 127.5 - 1)
        mse = (errors**2).mean(axis=(1, 2, 3))
        np.testing.assert_allclose(row["mse"], mse.mean())
        # The range is 2, so the peak's square is 4.
        scores = 10 * np.log10(4 / mse)
        np.testing.assert_allclose(row["psnr_mean"], scores.mean())
        np.testing.assert_allclose(row["psnr_min"], scores.min())
        np.testing.assert_allclose(row["psnr_max"], scores.max())
        np.testing.assert_allclose(
            row["ssim_mean"], ssim(images, decoded).mean()
        )
    # (3 x 4 + 6 x 8) codes of 4 bits on 12 x 16 pixels
    assert result["bits_per_pixel"] == 60 * 4 / 192
    usages = [code_usage(level, 16) for level in expected]
    assert result["top"] == usages[0] and result["bottom"] == usages[1]
    bits = 12 * usages[0]["entropy_bits"] + 48 * usages[1]["entropy_bits"]
    np.testing.assert_allclose(result["bits_per_pixel_entropy"], bits / 192)
    sizes = [len(data) for data in model.compress(images)]
    np.testing.assert_allclose(
        result["bits_per_pixel_files"], 8 * np.mean(sizes) / 192
    )


def test_wrong_input(model):
    metrics = ReconstructionMetrics(model)
    with pytest.raises(ValueError, match="no images"):
        metrics.result()
    metrics.update(np.zeros((1, 8, 8, 3), "uint8"))
    assert "ssim_mean" not in metrics.result()["levels=2"], "too small"
    with pytest.raises(ValueError, match="16x8 after 8x8"):
        metrics.update(np.zeros((1, 16, 8, 3), "uint8"))
    with pytest.raises(ValueError, match="multiples"):
        ReconstructionMetrics(model).update(np.zeros((1, 9, 8, 3), "uint8"))

import keras
import numpy as np
import pytest
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.images import batches_of
from keras_vqvae2.images import pad_to_multiple
from keras_vqvae2.images import psnr


def images(batch, height, width, seed=0):
    shape = (batch, height, width, 3)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype="uint8")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    vqvae = make_vqvae(num_residual_blocks=1)
    for weight in vqvae.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape) / 20)
    vqvae(images(4, 16, 16), training=True)  # Fills the codebooks.
    return keras_vqvae2.VQVAE2(vqvae)


def test_encode_and_decode(model):
    x = images(3, 16, 32)
    codes = model.encode(x)
    assert [level_codes.shape for level_codes in codes] == [
        (3, 2, 4),
        (3, 4, 8),
    ]
    for level_codes in codes:
        assert type(level_codes) is np.ndarray
        assert level_codes.dtype == "int32"
        assert len(np.unique(level_codes)) > 3
    decoded = model.decode(codes)
    assert type(decoded) is np.ndarray and decoded.dtype == "uint8"
    np.testing.assert_array_equal(decoded, model.reconstruct(x))
    np.testing.assert_array_equal(decoded, model.decode(codes))
    # As the model in training computes it.
    reconstructions, expected = model.vqvae(x)
    for ours, theirs in zip(codes, expected, strict=True):
        theirs = keras.ops.convert_to_numpy(theirs)
        np.testing.assert_array_equal(ours, theirs)
    reconstructions = keras.ops.convert_to_numpy(reconstructions)
    rounded = np.round(np.clip(reconstructions, 0, 255)).astype(int)
    assert np.abs(rounded - decoded).max() <= 1
    assert np.mean(rounded == decoded) > 0.99


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 30), (7, 9), (8, 8), (17, 23), (32, 16)]
)
def test_reconstruct_takes_any_size(model, size):
    x = images(2, *size)
    reconstructions = model.reconstruct(x)
    assert reconstructions.shape == x.shape
    assert reconstructions.dtype == "uint8"
    padded = pad_to_multiple(x, 8)
    assert padded.shape[1] % 8 == padded.shape[2] % 8 == 0
    assert padded.shape[1] - size[0] < 8 and padded.shape[2] - size[1] < 8
    expected = model.decode(model.encode(padded))[:, : size[0], : size[1]]
    np.testing.assert_array_equal(reconstructions, expected)


def test_padding_mirrors():
    x = np.arange(6).reshape(1, 2, 3, 1)
    padded = pad_to_multiple(x, 4)
    np.testing.assert_array_equal(
        padded[0, :, :, 0],
        [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]],
    )
    x = np.full((1, 1, 1, 1), 7)
    np.testing.assert_array_equal(
        pad_to_multiple(x, 8), np.full((1, 8, 8, 1), 7)
    )


def test_batch_size_changes_nothing(model):
    x = images(5, 16, 16)
    codes = model.encode(x, batch_size=5)
    decoded = model.decode(codes, batch_size=5)
    for batch_size in (1, 2, 100):
        for ours, theirs in zip(
            model.encode(x, batch_size=batch_size), codes, strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)
        for difference in (
            np.int32(model.decode(codes, batch_size=batch_size)) - decoded,
            np.int32(model.reconstruct(x, batch_size=batch_size)) - decoded,
        ):
            assert np.abs(difference).max() <= 1
            assert np.mean(difference == 0) > 0.99


def test_dark_image_beside_a_bright_one(model):
    """Pixels 0 and 1 alone look like a wrong range, but the batch tells."""
    x = images(2, 16, 16).astype("float32")
    x[1] = x[1] > 128
    for method in (model.encode, model.reconstruct):
        together = method(x, batch_size=2)
        alone = method(x, batch_size=1)
        for ours, theirs in zip(together, alone, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1)


def test_levels(model):
    x = images(2, 16, 16)
    codes = model.encode(x)
    coarse = model.decode(codes, levels=1)
    assert coarse.shape == x.shape
    np.testing.assert_array_equal(coarse, model.decode(codes[:1], levels=1))
    np.testing.assert_array_equal(coarse, model.reconstruct(x, levels=1))
    assert np.any(coarse != model.decode(codes))
    other = (codes[0], (codes[1] + 1) % 16)
    np.testing.assert_array_equal(coarse, model.decode(other, levels=1))
    np.testing.assert_array_equal(
        model.decode(codes, levels=2), model.decode(codes)
    )


def test_lists_and_other_integers(model):
    codes = model.encode(images(1, 8, 8))
    expected = model.decode(codes)
    lists = [level_codes.tolist() for level_codes in codes]
    np.testing.assert_array_equal(model.decode(lists), expected)
    for dtype in ("uint8", "int64"):
        maps = [level_codes.astype(dtype) for level_codes in codes]
        np.testing.assert_array_equal(model.decode(maps), expected)


def test_sees_weights_that_were_trained_since(model):
    x = images(1, 16, 16)
    bias = model.vqvae.decoders[-1].upsamples[-1].bias
    before, old = model.reconstruct(x), keras.ops.convert_to_numpy(bias)
    bias.assign(old + 0.5)
    after = model.reconstruct(x)
    bias.assign(old)
    assert np.any(before != after)
    np.testing.assert_array_equal(before, model.reconstruct(x))


def test_psnr():
    x, y = images(3, 4, 5), images(3, 4, 5, seed=1)
    y[2] = x[2]
    expected = [
        20 * np.log10(255 / np.sqrt(np.mean((np.float64(a) - b) ** 2)))
        for a, b in zip(x[:2], y[:2], strict=True)
    ]
    np.testing.assert_allclose(psnr(x, y), [*expected, np.inf], rtol=1e-12)
    np.testing.assert_allclose(
        psnr(np.zeros((1, 2, 2, 3)), np.full((1, 2, 2, 3), 255)), [0.0]
    )
    with pytest.raises(ValueError, match=r"same shape.*\(3, 4.*\(2, 4"):
        psnr(x, y[:2])


def test_bits_per_pixel(model):
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        hidden_dim=2, residual_dim=1, embedding_dim=1
    )
    big = keras_vqvae2.VQVAE2(vqvae)
    assert round(big.bits_per_pixel(256, 256), 3) == 0.703
    # A pixel needs what 8x8 pixels need: 1 + 4 codes of 4 bits.
    assert model.bits_per_pixel(1, 1) == 20
    assert model.bits_per_pixel(8, 9) == 2 * 20 / 72


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((16, 16, 3)), ValueError, r"image\[None\]"),
        (np.zeros((2, 3, 16, 16)), ValueError, r"np.moveaxis\(x, 1, -1\)"),
        (np.zeros((0, 16, 16, 3)), ValueError, r"nothing in them"),
        (images(1, 8, 8) / 255, ValueError, r"pass `255 \* x`"),
        (images(1, 8, 8) > 9, TypeError, r"uint8 or float.*bool"),
        ([images(1, 8, 8)[0], images(1, 4, 8)[0]], ValueError, "of one shape"),
        (None, ValueError, r"Received shape \(\)"),
        (np.array([{}]), ValueError, r"Received shape \(1,\)"),
    ],
)
def test_bad_images(model, x, error, message):
    for method in (model.encode, model.reconstruct):
        with pytest.raises(error, match=message):
            method(x)


def test_encode_wants_multiples(model):
    message = r"multiples of the model's total stride, 8.*12x16.*reconstruct"
    with pytest.raises(ValueError, match=message):
        model.encode(images(1, 12, 16))


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, None])
def test_bad_batch_size(model, batch_size):
    x = images(1, 8, 8)
    codes = model.encode(x)
    for method, argument in (
        (model.encode, x),
        (model.decode, codes),
        (model.reconstruct, x),
    ):
        with pytest.raises(ValueError, match="`batch_size` must be a posit"):
            method(argument, batch_size=batch_size)


def test_variables_and_lists_are_arrays(model):
    x = images(2, 8, 8)
    codes = model.encode(x)
    variable = keras.Variable(x, trainable=False, dtype="uint8")
    for given in (list(x), variable, variable.value):
        for a, b in zip(model.encode(given), codes, strict=True):
            np.testing.assert_array_equal(a, b)
    expected = model.decode(codes)
    np.testing.assert_array_equal(model.reconstruct(variable), expected)
    for given in (
        [keras.Variable(c, trainable=False, dtype="int32") for c in codes],
        [level.tolist() for level in codes],
    ):
        np.testing.assert_array_equal(model.decode(given), expected)


def test_any_batch_size(model):
    x = images(1, 8, 8)
    codes = model.encode(x, batch_size=10**30)
    assert model.decode(codes, batch_size=10**30).shape == x.shape
    assert batches_of(x[:0], 8) == []


@pytest.mark.parametrize("given", [None, 5])
def test_compress_wants_images(model, given):
    with pytest.raises(TypeError, match="`images` must be an array or an iter"):
        model.compress(given)


def test_bad_codes(model):
    top, bottom = model.encode(images(1, 8, 8))
    with pytest.raises(ValueError, match="tuple of 2 maps.*Received 1 maps"):
        model.decode((top,))
    with pytest.raises(ValueError, match="0..15. The bottom map"):
        model.decode((top, bottom + 16))
    with pytest.raises(ValueError, match="`codes` must be an array.*one shape"):
        model.decode(([[[1, 2], [3]]], bottom))
    with pytest.raises(ValueError, match="must be integers. Received object"):
        model.decode((None, None))
    with pytest.raises(ValueError, match="`levels` must be 1 to 2"):
        model.decode((top, bottom), levels=3)


def test_needs_a_vqvae():
    with pytest.raises(TypeError, match="HierarchicalVQVAE. Received: str"):
        keras_vqvae2.VQVAE2("vqvae2-imagenet256")

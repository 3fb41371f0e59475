import keras
import numpy as np
import pytest
import safetensors.numpy
from code_models import SIZES
from code_models import assert_same_codes
from code_models import make_context
from code_models import random_codes

from keras_vqvae2.arrays import parse_arrays
from keras_vqvae2.codec import ContextModel
from keras_vqvae2.codec.context_level import GRID
from keras_vqvae2.codec.context_level import OFFSET
from keras_vqvae2.codec.context_level import ContextLevel
from keras_vqvae2.codec.context_level import _exponentials
from keras_vqvae2.codec.context_model import MARGIN
from keras_vqvae2.codec.context_model import bits_per_pixel
from keras_vqvae2.codec.context_window import ContextWindow
from keras_vqvae2.codec.context_window import context_windows
from keras_vqvae2.data import CodeWindows
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.models import ContextNetwork

STRIDES = (4, 2, 4)


def _shapes(codes):
    return [level.shape for level in codes]


def test_the_nearest_codes_come_first():
    window = ContextWindow(num_neighbors=6)
    assert window.neighbors == (
        *((-1, 0), (0, -1), (-1, -1), (-1, 1)),
        *((-2, 0), (0, -2)),
    )
    assert window.slope == 2
    assert ContextWindow(10).slope == 3  # (-1, 2) is among them
    assert ContextWindow(1).slope == 1
    assert window.coarse == ()
    assert ContextWindow(6, ratio=2, coarse_radius=0).coarse == ((0, 0),)


@pytest.mark.parametrize("level", range(3))
def test_equals_the_network_that_was_trained(level):
    config = ContextConfig(**SIZES)
    window = list(context_windows(config, STRIDES).values())[level]
    network = ContextNetwork(
        16,
        config.num_neighbors,
        len(window.coarse),
        (window.ratio or 1) ** 2,
        config.embedding_dim,
        config.coarse_dim,
        config.hidden_dims,
    )
    rng = np.random.default_rng(0)
    for weight in network.weights:
        weight.assign(rng.normal(size=weight.shape))
    maps = random_codes((90, 150), STRIDES)
    codes, coarser = maps[level], maps[level - 1] if level else None
    windows = CodeWindows(
        codes[None],
        None if coarser is None else coarser[None],
        neighbors=window.neighbors,
        coarse=window.coarse,
        outside=16,
        batch_size=16,
        num_batches=1,
        seed=0,
    )
    ratio = window.ratio or 1
    height, width = (side // ratio for side in codes.shape)
    rows, columns = np.indices((height, width)).reshape(2, -1)
    inputs, targets = windows.at(np.zeros_like(rows), rows, columns)

    def as_map(squares):
        """From `(squares, places, ...)` to `(height, width, ...)`."""
        rest = squares.shape[2:]
        squares = squares.reshape(height, width, ratio, ratio, *rest)
        return squares.swapaxes(1, 2).reshape(*codes.shape, *rest)

    np.testing.assert_array_equal(as_map(targets), codes)
    expected = as_map(keras.ops.convert_to_numpy(network(inputs)))
    received = np.full((*codes.shape, 16), np.nan)
    times_seen = np.zeros(codes.shape)

    def snap(scaled, rows, columns):
        received[rows, columns] = (scaled - OFFSET) / GRID
        times_seen[rows, columns] += 1
        return np.floor(scaled)

    visited = ContextLevel(window, network.arrays()).scan(
        codes.shape,
        coarser,
        lambda rows, columns, _: codes[rows, columns],
        snap,
    )
    np.testing.assert_array_equal(visited, codes)
    assert (times_seen == 1).all()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(received / scale, expected / scale, atol=1e-5)


@pytest.mark.parametrize(
    ("strides", "image_size", "changes"),
    [
        ((4, 2), (50, 37), {}),
        ((4,), (3, 3), {}),
        ((2, 4, 2), (33, 65), {"num_neighbors": 14, "hidden_dims": (9,)}),
        ((2, 2), (7, 90), {"num_neighbors": 1, "coarse_radius": 0}),
        ((8, 8), (200, 64), {"coarse_radius": 2}),
    ],
)
def test_round_trip(strides, image_size, changes):
    context = make_context(strides, **changes)
    codes = random_codes(image_size, strides)
    message, sides = context.encode(codes)
    decoded = context.decode(message, sides, _shapes(codes))
    assert_same_codes(codes, decoded)


def _near_boundaries(size):
    """A context model whose logits all lie within `size` of a boundary."""
    context = make_context()
    rng = np.random.default_rng(1)
    for name, array in context.arrays.items():
        # Logits are sums of whole multiples of 1 / GRID...
        array[...] = np.round(array * 2) / GRID if "output" in name else 0
        if name.endswith("output/bias"):
            # ... and a little more, on either side.
            array[...] = np.round(rng.normal(size=array.shape) * GRID) / GRID
    arrays = {k: v.astype("float32") for k, v in context.arrays.items()}
    context = ContextModel(
        context.config, context.strides, context.num_embeddings, arrays
    )
    for level in context._levels:
        kernel, bias = level._output
        bias = bias - OFFSET + GRID * rng.uniform(-size, size, bias.shape)
        level._output = kernel, bias
    return context


def _with_noise(context, size, seed=2):
    """The same on another machine: each logit is a little different."""
    rng = np.random.default_rng(seed)
    noisy = ContextModel(
        context.config, context.strides, context.num_embeddings, context.arrays
    )
    for level, original in zip(noisy._levels, context._levels, strict=True):
        level._output = original._output
        exact = level._scaled_logits

        def inexact(x, exact=exact):
            scaled = exact(x)
            return scaled + GRID * rng.uniform(-size, size, scaled.shape)

        level._scaled_logits = inexact
    return noisy


def test_sides_make_up_for_another_machines_rounding():
    codes = random_codes()
    context = _near_boundaries(MARGIN / 10)
    message, sides = context.encode(codes)
    num_logits = 16 * sum(level.size for level in codes)
    assert len(sides) == num_logits
    assert {side for _, side in sides} == {0, 1}
    noisy = _with_noise(context, MARGIN / 2)
    assert_same_codes(codes, noisy.decode(message, sides, _shapes(codes)))
    # Without the list the same noise is the ruin of it.
    try:
        wrong = noisy.decode(message, (), _shapes(codes))
    except ValueError:
        return
    assert any((a != b).any() for a, b in zip(codes, wrong, strict=True))


def test_few_logits_are_near_a_boundary():
    codes = random_codes((200, 200))
    context = make_context()
    message, sides = context.encode(codes)
    assert len(sides) <= 1  # 2 MARGIN GRID = 5e-7 of 54 000
    noisy = _with_noise(context, MARGIN / 2)
    assert_same_codes(codes, noisy.decode(message, sides, _shapes(codes)))


def test_exponentials_are_the_same_for_any_libm():
    exact = 2.0**24 * np.exp(-np.arange(len(_exponentials())) / GRID)
    to_half = np.abs(exact - np.floor(exact) - 0.5)
    assert to_half.min() > 1e-5  # an error of 1 ulp is 4e-9
    assert _exponentials()[0] == 2**24
    assert _exponentials()[-1] == 0 and _exponentials()[-2] == 1
    assert len(_exponentials()) == 4438


def test_probable_codes_take_few_bytes():
    context = make_context((4,))
    arrays = {name: 0 * array for name, array in context.arrays.items()}
    arrays["top/output/bias"][5] = 25
    context = ContextModel(context.config, (4,), 16, arrays)
    codes = np.full((32, 32), 5, "int32")
    assert len(context.encode([codes])[0]) <= 1
    # Others are there still, at 24 bits.
    codes[9, 9] = 7
    message, _ = context.encode([codes])
    assert 3 <= len(message) <= 5
    assert_same_codes([codes], context.decode(message, (), [(32, 32)]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("top/bias"), "missing .*top/bias"),
        (lambda arrays: arrays.update(x=np.zeros(1)), "unknown .*x"),
        (
            lambda arrays: arrays.update({"top/bias": np.zeros((1, 9), "f4")}),
            r"top/bias must be .* \(1, 8\). Received: float32 of .*\(1, 9\)",
        ),
        (
            lambda arrays: arrays.update({"top/bias": np.zeros((1, 8), "i4")}),
            "float16 or float32",
        ),
        (
            lambda arrays: arrays["top/bias"].fill(np.nan),
            "top/bias has values beyond 65504 or that are not finite",
        ),
    ],
)
def test_bad_arrays(change, message):
    context = make_context()
    change(context.arrays)
    with pytest.raises(ValueError, match=message):
        ContextModel(context.config, (4, 2), 16, context.arrays)


def test_bits_per_pixel():
    # A bottom code on 4x4 pixels, a top code on 8x8.
    assert bits_per_pixel((4, 2), (6.4, 3.2)) == pytest.approx(0.1 + 0.2)
    assert bits_per_pixel((8, 2, 2), (1, 1, 1)) == pytest.approx(
        1 / 64 + 1 / 256 + 1 / 1024
    )


def test_logits_too_large_to_be_exact():
    context = make_context((4,))
    for array in context.arrays.values():
        array *= 60000 / max(1, np.abs(array).max())
    context = ContextModel(context.config, (4,), 16, context.arrays)
    with pytest.raises(ValueError, match="too large to be exact"):
        context.encode([np.zeros((3, 3), "int32")])


def test_arrays_that_numpy_does_not_know():
    data = safetensors.numpy.save({"x": np.zeros(4, "uint8")})
    data = data.replace(b'"U8"', b'"F8_E4M3"')
    data = (len(data) - 12).to_bytes(8, "little") + data[8:]
    with pytest.raises(ValueError, match="whole safetensors|does not know"):
        parse_arrays(data)

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops

from keras_vqvae2.layers import GatedMaskedConv2D


def make(
    mask_type="B", channels=3, kernel_size=3, seed=0, dtype=None, **shapes
):
    block = GatedMaskedConv2D(4, kernel_size, mask_type, dtype=dtype)
    maps = (None, 6, 7, channels)
    block.build((maps, maps), **shapes)
    generator = np.random.default_rng(seed)
    for weight in block.weights:
        weight.assign(generator.normal(size=weight.shape) / 2)
    return block


def values(block):
    """Weights by the last two parts of their path, as float64."""
    return {
        "/".join(weight.path.split("/")[-2:]): np.array(value, "float64")
        for weight, value in zip(
            block.weights, block.get_weights(), strict=True
        )
    }


def masked_conv(x, kernel, seen):
    """Sum over the offsets (rows, columns) of `seen` by loops."""
    height, width = x.shape[1:3]
    out = np.zeros((*x.shape[:3], kernel.shape[-1]))
    for r in range(height):
        for c in range(width):
            for (i, j), (row, column) in seen:
                y, z = r + row, c + column
                if 0 <= y < height and 0 <= z < width:
                    out[:, r, c] += x[:, y, z] @ kernel[i, j]
    return out


def gate(x):
    features, gates = np.split(x, 2, axis=-1)
    return np.tanh(features) / (1 + np.exp(-gates))


@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_values(mask_type, kernel_size):
    block = make(
        mask_type,
        kernel_size=kernel_size,
        class_vector_shape=(None, 5),
        condition_shape=(None, 6, 7, 2),
    )
    w = values(block)
    generator = np.random.default_rng(1)
    vertical, horizontal = generator.normal(size=(2, 2, 6, 7, 3))
    class_vector = generator.normal(size=(2, 5))
    condition = generator.normal(size=(2, 6, 7, 2))

    half = kernel_size // 2
    past = half + (mask_type == "B")
    added = (class_vector @ w["class_projection/kernel"])[:, None, None]
    added = added + condition @ w["condition_projection/kernel"][0, 0]
    rows = [
        ((i, j), (i - half, j - half))
        for i in range(past)
        for j in range(kernel_size)
    ]
    x = masked_conv(vertical, w["vertical_conv/kernel"], rows)
    x = gate(x + w["vertical_conv/bias"] + added[..., :8])
    new_vertical = x @ w["vertical_projection/kernel"][0, 0]
    new_vertical += w["vertical_projection/bias"]
    if mask_type == "B":
        new_vertical += vertical
    columns = [((0, j), (0, j - half)) for j in range(past)]
    x = masked_conv(horizontal, w["horizontal_conv/kernel"], columns)
    x += w["horizontal_conv/bias"] + added[..., 8:]
    x += new_vertical @ w["vertical_to_horizontal/kernel"][0, 0]
    new_horizontal = gate(x) @ w["horizontal_projection/kernel"][0, 0]
    new_horizontal += w["horizontal_projection/bias"]
    if mask_type == "B":
        new_horizontal += horizontal

    outputs = block(
        tuple(x.astype("float32") for x in (vertical, horizontal)),
        class_vector.astype("float32"),
        condition.astype("float32"),
    )
    for ours, expected in zip(
        outputs, (new_vertical, new_horizontal), strict=True
    ):
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours), expected, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_steps_equal_call(kernel_size, mask_type, transposed, given):
    # Some operations of the other backends are in float32.
    exact = keras.backend.backend() == "tensorflow"
    dtype = "float64" if exact else "float32"
    generator = np.random.default_rng(1)
    vertical, horizontal = generator.normal(size=(2, 2, 6, 7, 3)).astype(dtype)
    class_vector = condition = None
    shapes = {}
    if given:
        class_vector = generator.normal(size=(2, 5)).astype(dtype)
        condition = generator.normal(size=(2, 6, 7, 2)).astype(dtype)
        shapes = {
            "class_vector_shape": (None, 5),
            "condition_shape": (None, 6, 7, 2),
        }
    block = make(mask_type, kernel_size=kernel_size, dtype=dtype, **shapes)
    weights = block.step_weights(transposed)
    # Those in sight end at the position itself for "B", before it for "A".
    half = kernel_size // 2
    past = half + (mask_type == "B")
    above = np.pad(vertical, ((0, 0), (half, 0), (0, 0), (0, 0)))
    before = np.pad(horizontal, ((0, 0), (0, 0), (half, 0), (0, 0)))
    rows, steps = [], []
    for row in range(6):
        vertical_row, gates = block.start_row(
            ops.convert_to_tensor(above[:, row : row + past]),
            class_vector,
            None if condition is None else condition[:, row : row + 1],
        )
        assert vertical_row.shape == (2, 1, 7, 3) and gates.shape == (2, 7, 8)
        rows.append(vertical_row)
        for column in range(7):
            taps = before[:, row, column : column + past].reshape(2, -1)
            taps = ops.convert_to_tensor(taps)
            steps.append(block.step(taps, gates[:, column], weights))
    found = ops.concatenate(rows, axis=1), ops.stack(steps, axis=1)
    expected = block((vertical, horizontal), class_vector, condition)
    tolerance = 1e-10 if exact else 1e-4
    for ours, theirs in zip(found, expected, strict=True):
        theirs = ops.convert_to_numpy(theirs)
        ours = ops.convert_to_numpy(ours).reshape(theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_no_blind_spot():
    """The gradient of each position reaches all of the past, and only it."""
    blocks = [make("A", 3)] + [make("B", 3, seed=i) for i in range(1, 7)]
    x = np.random.default_rng(2).normal(size=(1, 6, 7, 3)).astype("float32")

    for position in range(6 * 7):
        row, column = divmod(position, 7)

        def output(x, row=row, column=column):
            maps = (x, x)
            for block in blocks:
                maps = block(maps)
            return ops.sum(maps[1][0, row, column])

        reached = np.abs(gradient(output, x)[0]).max(axis=-1).reshape(-1) > 0
        np.testing.assert_array_equal(reached, np.arange(6 * 7) < position)


def test_config_round_trip():
    block = GatedMaskedConv2D(4, 7, mask_type="A", dropout=0.25, name="b")
    copy = GatedMaskedConv2D.from_config(block.get_config())
    assert copy.get_config() == block.get_config()
    assert block.get_config()["dropout"] == 0.25


def test_dropout_is_for_training():
    block = GatedMaskedConv2D(64, 3, dropout=0.5)
    x = np.random.default_rng(3).normal(size=(1, 4, 4, 2)).astype("float32")
    still = [ops.convert_to_numpy(block((x, x))[1]) for _ in range(2)]
    np.testing.assert_array_equal(*still)
    moved = [
        ops.convert_to_numpy(block((x, x), training=True)[1]) for _ in range(2)
    ]
    assert np.abs(moved[0] - moved[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"residual_dim": 0}, "`residual_dim` must be a positive .*: 0"),
        ({"kernel_size": 4}, "`kernel_size` must be odd. Received: 4"),
        ({"kernel_size": 1}, "`kernel_size` must be .*: 1"),
        ({"mask_type": "C"}, "`mask_type` must be .*: 'C'"),
    ],
)
def test_argument_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        GatedMaskedConv2D(**{"residual_dim": 4, **arguments})


def test_the_two_maps_must_fit():
    block = GatedMaskedConv2D(4)
    with pytest.raises(ValueError, match="must have the same shape"):
        block((np.ones((1, 4, 4, 2)), np.ones((1, 4, 4, 3))))


def test_trains_through_a_stock_model():
    keras.utils.set_random_seed(0)
    entry = keras.Input((4, 4, 2))
    maps = GatedMaskedConv2D(8, 3, "A")((entry, entry))
    model = keras.Model(entry, GatedMaskedConv2D(8, 3)(maps)[1])
    model.compile("adam", loss="mse")
    x = np.random.default_rng(4).normal(size=(8, 4, 4, 2)).astype("float32")
    history = model.fit(x, np.roll(x, 1, axis=2), epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]

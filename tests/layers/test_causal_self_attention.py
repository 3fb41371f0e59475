import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops

from keras_vqvae2.backend.remat import remat
from keras_vqvae2.layers import CausalSelfAttention
from keras_vqvae2.layers import causal_self_attention


@pytest.fixture(params=[128, 4])
def queries_at_a_time(request, monkeypatch):
    """All 15 positions at once, or in four parts."""
    monkeypatch.setattr(causal_self_attention, "_QUERIES", request.param)


def make(mask_type="B", dropout=0.0, key_channels=4, dtype=None):
    layer = CausalSelfAttention(2, 3, mask_type, dropout, dtype=dtype)
    layer.build((None, 3, 5, 4), (None, 3, 5, key_channels))
    generator = np.random.default_rng(0)
    for weight in layer.weights:
        if "float" in weight.dtype:  # not the seed
            weight.assign(generator.normal(size=weight.shape))
    return layer


def inputs(channels=4, seed=1):
    x = np.random.default_rng(seed).normal(size=(2, 3, 5, channels))
    return x.astype("float32")


@pytest.mark.usefixtures("queries_at_a_time")
@pytest.mark.parametrize("mask_type", ["A", "B"])
@pytest.mark.parametrize("key_channels", [None, 7])
def test_values(mask_type, key_channels):
    """Against loops over heads and positions."""
    layer = make(mask_type, key_channels=key_channels or 4)
    x = inputs()
    keys = None if key_channels is None else inputs(key_channels, seed=2)
    result = ops.convert_to_numpy(layer(x, keys)).reshape(2, 15, 6)

    w = {
        "/".join(v.path.split("/")[-2:]): np.array(value, "float64")
        for v, value in zip(layer.weights, layer.get_weights(), strict=True)
    }
    (rows,) = (v for k, v in w.items() if k.endswith("row_embedding"))
    (columns,) = (v for k, v in w.items() if k.endswith("column_embedding"))
    position = (rows + columns).reshape(15, 12)
    x = x.reshape(2, 15, 4)
    keys = x if keys is None else keys.reshape(2, 15, 7)
    query = x @ w["query/kernel"] + w["query/bias"] + position[:, :6]
    kv = keys @ w["key_value/kernel"] + w["key_value/bias"]
    key, value = kv[..., :6] + position[:, 6:], kv[..., 6:]
    expected = np.zeros((2, 15, 6))
    for image in range(2):
        for head in (slice(0, 3), slice(3, 6)):
            for i in range(15):
                last = i if mask_type == "A" else i + 1
                if last == 0:
                    continue
                logits = key[image, :last, head] @ query[image, i, head]
                weights = np.exp(logits / np.sqrt(3))
                weights /= weights.sum()
                expected[image, i, head] = weights @ value[image, :last, head]
    np.testing.assert_allclose(result, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_steps_equal_call(mask_type, parts):
    """With the memory of all positions, also in two parts: rows, columns."""
    # Some operations of the other backends are in float32.
    exact = keras.backend.backend() == "tensorflow"
    dtype = "float64" if exact else "float32"
    layer = make(mask_type, key_channels=7, dtype=dtype)
    generator = np.random.default_rng(1)
    x = generator.normal(size=(2, 15, 4)).astype(dtype)
    keys = generator.normal(size=(2, 15, 7)).astype(dtype)
    weights = layer.step_weights()
    memory = np.zeros((2, 2, 2, 15, 3), dtype)
    found = []

    def attend(i, row, column):
        split = [memory] if parts == 1 else np.split(memory, [5], axis=3)
        visible = np.arange(15) < i + (mask_type == "B")
        return layer.step(
            x[:, i],
            row,
            column,
            [
                (ops.convert_to_tensor(k), ops.convert_to_tensor(v))
                for k, v in split
            ],
            ops.convert_to_tensor(visible),
            weights,
        )

    for i in range(15):
        row, column = divmod(i, 5)
        new = layer.step_key_value(keys[:, i], row, column, weights)
        if mask_type == "A":  # the future need not be there
            found.append(attend(i, row, column))
        memory[:, :, :, i] = [ops.convert_to_numpy(x)[:, :, 0] for x in new]
        if mask_type == "B":
            found.append(attend(i, row, column))
    expected = ops.convert_to_numpy(
        layer(x.reshape(2, 3, 5, 4), keys.reshape(2, 3, 5, 7))
    ).reshape(2, 15, 6)
    tolerance = 1e-10 if exact else 1e-4
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.stack(found, axis=1)),
        expected,
        rtol=tolerance,
        atol=tolerance,
    )


@pytest.mark.usefixtures("queries_at_a_time")
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("mask_type", ["A", "B"])
def test_no_position_sees_the_future(mask_type, training):
    """In training too, with the same dropout: dropped logits stay masked."""

    def run(x):
        layer = make(mask_type, dropout=0.5)
        keras.utils.set_random_seed(7)  # PyTorch's dropout has no other
        layer.logits_dropout.seed_generator.state.assign([7, 0])
        return ops.convert_to_numpy(layer(x, training=training))

    x = inputs()
    before = run(x).reshape(2, 15, 6)
    for i in range(15):
        changed = x.reshape(2, 15, 4).copy()
        changed[:, i] += 1
        after = run(changed.reshape(x.shape)).reshape(2, 15, 6)
        np.testing.assert_array_equal(after[:, :i], before[:, :i])
        if not training:
            assert np.all(np.abs(after - before)[:, i:].max(axis=-1)[:, 1:] > 0)


@pytest.mark.usefixtures("queries_at_a_time")
@pytest.mark.parametrize("within", [False, True])
def test_recomputed_logits_give_the_same_gradients(within):
    """Dropout included, and within what is itself computed again."""

    def run(rematerialize):
        layer = make(dropout=0.5)
        keras.utils.set_random_seed(7)  # PyTorch's dropout has no other
        layer.logits_dropout.seed_generator.state.assign([7, 0])

        def attend(x):
            return layer(x, training=True, rematerialize=rematerialize)

        attend = remat(attend, [layer], within)
        return gradient(lambda x: ops.sum(ops.square(attend(x))), inputs())

    expected = run(False)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(run(True), expected, rtol=1e-4, atol=1e-5)


def test_the_first_position_gets_zeros_if_it_sees_nothing():
    result = ops.convert_to_numpy(make("A")(inputs()))
    np.testing.assert_array_equal(result[:, 0, 0], 0)
    assert np.all(np.isfinite(result)) and np.abs(result[:, 0, 1]).min() > 0


def test_config_round_trip():
    layer = CausalSelfAttention(2, 3, mask_type="A", dropout=0.25)
    copy = CausalSelfAttention.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_heads": 0}, "`num_heads` must be a positive .*: 0"),
        ({"head_dim": 1.5}, "`head_dim` must be a positive .*: 1.5"),
        ({"mask_type": None}, "`mask_type` must be .*: None"),
    ],
)
def test_argument_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        CausalSelfAttention(**arguments)


def test_unknown_size():
    with pytest.raises(ValueError, match="known height and width"):
        CausalSelfAttention().build((None, None, 8, 4))

"""What both quantizers share, and the one that learns by gradient."""

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops
from layer_check import check_layer
from reference import nearest

from keras_vqvae2.backend.step_record import StepRecord
from keras_vqvae2.layers import VectorQuantizer
from keras_vqvae2.layers import VectorQuantizerEMA

BOTH = pytest.mark.parametrize(
    "layer_class", [VectorQuantizer, VectorQuantizerEMA]
)
CONFIG = {
    "num_embeddings": 6,
    "embedding_dim": 4,
    "commitment_cost": 0.5,
    "dead_code_threshold": 0.1,
    "seed": 3,
}


def numpy(x):
    return ops.convert_to_numpy(x)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(layer_class=VectorQuantizer, codebook=None, **arguments):
    """A quantizer with the given codebook, ready to learn."""
    codebook = normal(6, 4, seed=1) if codebook is None else codebook
    layer = layer_class(*codebook.shape, **arguments)
    layer.build((None, codebook.shape[1]))
    layer.embeddings.assign(codebook)
    layer.initialized.assign(1.0)
    if layer_class is VectorQuantizerEMA:
        layer.sums.assign(codebook)
    return layer


def state(layer):
    values = {weight.path: numpy(weight) for weight in layer.weights}
    values["seed"] = numpy(layer.seed_generator.state)
    return values


def assert_same_state(layer, expected):
    for path, value in state(layer).items():
        np.testing.assert_array_equal(value, expected[path], err_msg=path)


def as_model(layer, trainable=True):
    """Dense layer without effect, then `layer`; its outputs are both."""
    entry = keras.Input((layer.embedding_dim,))
    dense = keras.layers.Dense(
        layer.embedding_dim,
        use_bias=False,
        kernel_initializer="identity",
        trainable=trainable,
    )
    return keras.Model(entry, layer(dense(entry))[0])


def test_layer():
    check_layer(
        VectorQuantizer,
        CONFIG,
        input_shape=(5, 3, 4),
        output_shapes=[(5, 3, 4), (5, 3)],
        num_trainable=6 * 4,
        num_non_trainable=6 * 4 + 6 + 1,
        output_dtypes=(None, "int32"),
        float32_state=True,
    )


@BOTH
def test_nearest_codes_and_their_vectors(layer_class):
    layer = built(layer_class)
    x = normal(2, 3, 5, 4, seed=2)
    quantized, codes = layer(x)
    expected = nearest(x, numpy(layer.codebook))
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(numpy(codes), expected)
    # Exactly the codebook's vectors, so that decode(encode(x)) is exact.
    vectors = normal(6, 4, seed=1)[expected]
    np.testing.assert_array_equal(numpy(quantized), vectors)
    np.testing.assert_array_equal(numpy(layer.lookup(codes)), vectors)


@BOTH
def test_mean_embedding_is_weighted_by_use(layer_class):
    layer = built(layer_class)
    layer.counts.assign([3.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    codebook = normal(6, 4, seed=1)
    np.testing.assert_allclose(
        numpy(layer.mean_embedding()),
        0.75 * codebook[0] + 0.25 * codebook[2],
        rtol=1e-6,
    )


@BOTH
def test_straight_through(layer_class):
    layer = built(layer_class)
    factors = normal(7, 4, seed=2)

    def output(x):
        return ops.sum(layer(x)[0] * ops.convert_to_tensor(factors))

    np.testing.assert_array_equal(gradient(output, normal(7, 4)), factors)


@BOTH
def test_commitment_loss(layer_class):
    layer = built(layer_class, commitment_cost=0.3)
    x = normal(7, 4)
    difference = x - numpy(layer(x)[0])
    beta = 0.3 if layer_class is VectorQuantizerEMA else 1.3
    np.testing.assert_allclose(
        numpy(sum(layer.losses)), beta * np.mean(difference**2), rtol=1e-5
    )

    def loss(x):
        layer(x)
        return sum(layer.losses)

    np.testing.assert_allclose(
        gradient(loss, x), 0.3 * 2 * difference / 28, rtol=1e-5
    )


def test_codebook_loss_moves_the_codebook():
    layer = built(dead_code_threshold=0)
    model = as_model(layer, trainable=False)
    model.compile(keras.optimizers.SGD(0.5))
    x, codebook = normal(7, 4), normal(6, 4, seed=1)
    model.fit(x, batch_size=7, verbose=0)
    expected = codebook.copy()
    for vector, code in zip(x, nearest(x, codebook), strict=True):
        expected[code] -= 0.5 * 2 * (codebook[code] - vector) / 28
    assert np.abs(expected - codebook).max() > 0.01
    np.testing.assert_allclose(
        numpy(layer.codebook), expected, rtol=1e-5, atol=1e-6
    )


@BOTH
def test_running_counts(layer_class):
    layer = built(layer_class, dead_code_threshold=0)
    x = normal(50, 4)
    batch = np.bincount(nearest(x, normal(6, 4, seed=1)), minlength=6)
    layer(x, training=True)
    np.testing.assert_allclose(
        numpy(layer.counts), 0.99 * 1 + 0.01 * batch, rtol=1e-6
    )


@BOTH
def test_codebook_starts_with_vectors_of_the_first_batch(layer_class):
    layer = layer_class(8, 2)
    x = normal(5, 4, 2) + 100
    layer(x)
    assert numpy(layer.codebook).max() < 50, "inference initialised it"
    quantized, codes = layer(x, training=True)
    # Every code is one of the batch's vectors and no two are the same, so
    # the first outputs lie among the data too.
    first = np.unique(numpy(quantized).reshape(-1, 2), axis=0)
    assert len(first) == len(np.unique(numpy(codes))) == 8
    assert all((row == x.reshape(-1, 2)).all(-1).any() for row in first)
    # It happens once: the next step does not draw again.
    np.testing.assert_allclose(
        numpy(layer(x, training=True)[0]), numpy(quantized), atol=1.0
    )
    assert float(layer.initialized.value) == 1


@BOTH
def test_first_batch_smaller_than_the_codebook(layer_class):
    layer = layer_class(8, 2)
    x = normal(3, 2) + 100
    layer(x, training=True)
    assert all(
        np.isclose(row, x, rtol=1e-6).all(-1).any()
        for row in numpy(layer.codebook)
    )


@BOTH
def test_first_batch_with_nan(layer_class):
    layer = layer_class(4, 2)
    x = normal(64, 2) + 100
    layer(np.full_like(x, np.nan), training=True)
    assert np.isfinite(numpy(layer.codebook)).all()
    assert float(layer.initialized.value) == 0
    layer(x, training=True)
    assert numpy(layer.codebook).min() > 90
    before = numpy(layer.codebook)
    layer(np.full_like(x, np.nan), training=True)
    assert float(layer.initialized.value) == 1
    np.testing.assert_array_equal(numpy(layer.codebook), before)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_bad_batch_leaves_the_state(layer_class, bad):
    layer = built(layer_class)
    before = {weight.path: numpy(weight) for weight in layer.weights}
    x = normal(20, layer.embedding_dim)
    x[3, 1] = bad
    layer(x, training=True)
    for weight in layer.weights:
        np.testing.assert_array_equal(numpy(weight), before[weight.path])


@BOTH
def test_saves_its_seed(layer_class):
    layer, copy = built(layer_class), built(layer_class)
    layer(normal(20, layer.embedding_dim), training=True)
    store = {}
    layer.save_own_variables(store)
    copy.load_own_variables(store)
    assert_same_state(
        copy,
        {w.path: numpy(w) for w in copy.weights}
        | {"seed": numpy(layer.seed_generator.state)},
    )
    assert numpy(layer.seed_generator.state)[1] > 0
    # Files of earlier versions have none.
    del store["seed_0"]
    copy.load_own_variables(store)


@BOTH
def test_dead_code_restarts(layer_class):
    layer = built(layer_class, dead_code_threshold=0.1)
    counts = np.array([4.0, 4.0, 4.0, 0.2, 4.0, 0.4], "float32")
    layer.counts.assign(counts)
    before = numpy(layer.codebook)
    if layer_class is VectorQuantizerEMA:
        layer.sums.assign(counts[:, None] * before)
    x = np.full((20, 4), 9, "float32")
    codes = numpy(layer(x, training=True)[1])
    used = codes[0]
    assert (codes == used).all() and used != 3
    counts = 0.99 * counts
    counts[used] += 0.01 * 20
    limit = 0.1 * np.mean(counts)
    assert counts[3] < limit < counts[5]
    after = numpy(layer.codebook)
    np.testing.assert_allclose(after[3], x[0], rtol=1e-6)
    others = sorted({0, 1, 2, 4, 5} - {used})
    np.testing.assert_allclose(after[others], before[others], rtol=1e-5)
    # It starts at twice the limit, so that it dies soon if nobody uses it.
    counts[3] = 2 * limit
    np.testing.assert_allclose(numpy(layer.counts), counts, rtol=1e-6)
    assert (numpy(layer(x, training=True)[1]) == 3).all()


@BOTH
def test_restart_draws_over_the_whole_batch(layer_class):
    codebook = normal(64, 4, seed=1)
    codebook[63] = 1000
    layer = built(layer_class, codebook)
    layer.counts.assign(np.where(np.arange(64) < 63, 1e-4, 9.0))
    x = np.arange(1000, 1640, dtype="float32")[:, None] * np.ones(4, "float32")
    layer(x, training=True)
    rows = np.round(numpy(layer.codebook)[:63, 0] - 1000) // 10
    np.testing.assert_array_equal(rows, np.arange(63))


def test_codes_stay_in_the_range_of_the_data():
    layers = [
        layer_class(16, 4, dead_code_threshold=threshold)
        for layer_class in (VectorQuantizer, VectorQuantizerEMA)
        for threshold in (0.05, 0)
    ]
    entry = keras.Input((4,))
    model = keras.Model(entry, [layer(entry)[0] for layer in layers])
    model.compile(keras.optimizers.SGD(0.5))
    x = np.random.default_rng(0).uniform(5, 6, (32000, 4))
    x[:32] = 5.5 + 0.01 * x[:32]  # The first batch lies close together.
    x = x.astype("float32")
    history = model.fit(x, batch_size=32, shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for layer in layers:
        codebook = numpy(layer.codebook)
        assert 5 - 1e-4 < codebook.min() and codebook.max() < 6 + 1e-4
        if layer.dead_code_threshold:
            used = np.unique(nearest(x, codebook))
            assert len(used) == 16, "a dead code was left"


@BOTH
def test_unused_code_stays_where_it_is(layer_class):
    ema = layer_class is VectorQuantizerEMA
    layer = built(
        layer_class,
        codebook=np.array([[0.0, 0.0], [7.0, -3.0]], "float32"),
        dead_code_threshold=0,
        **({"decay": 0.8} if ema else {}),
    )
    x = 0.1 * normal(200, 2)
    for i in range(200):
        layer(x[i : i + 1], training=True)
    assert not ema or numpy(layer.counts)[1] < 1e-12
    np.testing.assert_allclose(numpy(layer.codebook)[1], [7.0, -3.0], rtol=1e-5)


@BOTH
@pytest.mark.parametrize("initialized", [False, True])
def test_inference_moves_nothing(layer_class, initialized):
    layer = built(layer_class)
    layer.initialized.assign(float(initialized))
    layer.counts.assign([1.0, 0.0, 0.0, 9.0, 9.0, 9.0])
    model = as_model(layer)
    model.compile("sgd", loss="mse")
    x = normal(20, 4)
    before = state(layer)
    model.evaluate(x, x, verbose=0)
    model.predict(x, verbose=0)
    layer(x)
    layer(x, training=False)
    assert_same_state(layer, before)


@BOTH
@pytest.mark.parametrize("initialized", [False, True])
def test_frozen_layer_moves_nothing(layer_class, initialized):
    layer = built(layer_class)
    layer.initialized.assign(float(initialized))
    layer.counts.assign([1.0, 0.0, 0.0, 9.0, 9.0, 9.0])
    layer.trainable = False
    model = as_model(layer)
    model.compile("sgd", loss="mse")
    x = normal(20, 4)
    before = state(layer)
    kernel = model.layers[1].get_weights()[0]
    model.fit(x, x, verbose=0)
    layer(x, training=True)
    assert_same_state(layer, before)
    assert np.any(model.layers[1].get_weights()[0] != kernel)


@BOTH
def test_same_seed_same_restarts(layer_class):
    codebooks = []
    for seed in (1, 1, 2):
        layer = layer_class(8, 2, seed=seed)
        layer(normal(400, 2), training=True)
        codebooks.append(numpy(layer.codebook))
    np.testing.assert_array_equal(codebooks[0], codebooks[1])
    assert np.any(codebooks[0] != codebooks[2])


@BOTH
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_distances_are_float32(layer_class, policy):
    codebook = 100 + normal(6, 4, seed=1) / 50  # One value in bfloat16.
    layer = built(layer_class, codebook=codebook, dtype=policy)
    x = 100 + normal(200, 4) / 50
    codes = layer(x)[1]
    expected = nearest(np.float64(x), np.float64(codebook))
    np.testing.assert_array_equal(numpy(codes), expected)
    # Through a functional model, where Keras would cast.
    model = keras.Model(entry := keras.Input((4,)), layer(entry)[1])
    np.testing.assert_array_equal(model.predict(x, verbose=0), numpy(codes))


@BOTH
@pytest.mark.parametrize("shape", [(4, 3), (2, 8), (2, 2, 2)])
def test_wrong_last_axis(layer_class, shape):
    message = r"last axis of the input must be embedding_dim=4.*\(.*"
    message += rf"{shape[-1]}\)"
    layer = layer_class(6, 4)
    with pytest.raises(ValueError, match=message):
        layer(normal(*shape))
    layer = built(layer_class)
    with pytest.raises(ValueError, match=message):
        layer(normal(*shape))
    with pytest.raises(ValueError, match=message):
        layer(keras.Input(shape[1:]))


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_embeddings": 0}, "`num_embeddings` must be a positive .*: 0"),
        ({"num_embeddings": 1.5}, "`num_embeddings` must be a .*: 1.5"),
        ({"embedding_dim": -4}, "`embedding_dim` must be a positive .*: -4"),
        ({"commitment_cost": -1}, "`commitment_cost` must be a finite.*: -1"),
        ({"commitment_cost": np.inf}, "`commitment_cost` must be .*: inf"),
        ({"commitment_cost": float("nan")}, "`commitment_cost` .*: nan"),
        ({"dead_code_threshold": 1}, r"must be in \[0, 1\). Received: 1"),
        ({"dead_code_threshold": -0.1}, r"must be in \[0, 1\).*: -0.1"),
    ],
)
def test_bad_arguments(layer_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_class(**{"num_embeddings": 6, "embedding_dim": 4, **arguments})


@BOTH
@pytest.mark.parametrize("initialized", [False, True])
def test_in_a_step_the_layer_records_and_the_step_updates(
    layer_class, initialized
):
    layer, alone = built(layer_class), built(layer_class)
    for each in (layer, alone):
        each.initialized.assign(float(initialized))
        each.counts.assign([1.0, 0.0, 0.0, 9.0, 9.0, 9.0])
    x = normal(20, 4)
    before = layer.get_weights()
    with StepRecord().scope() as record:
        outputs = layer(x, training=True)
    for ours, theirs in zip(outputs, alone(x, training=True), strict=True):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    np.testing.assert_array_equal(
        numpy(record.losses[layer.name]), numpy(alone.losses[0])
    )
    statistics = record.statistics[layer.name]
    assert [tuple(s.shape) for s in statistics] == layer.statistics_shapes
    layer.update_codebook(statistics, finite=False)
    for value, old in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, old)
    layer.update_codebook(statistics)
    for ours, theirs in zip(
        layer.get_weights(), alone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert np.any(layer.get_weights()[1] != before[1])

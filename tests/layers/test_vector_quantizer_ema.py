import keras
import numpy as np
import pytest
from keras import ops
from layer_check import check_layer
from reference import nearest

from keras_vqvae2.layers import VectorQuantizerEMA


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def built(codebook, counts=1.0, **arguments):
    layer = VectorQuantizerEMA(*codebook.shape, **arguments)
    layer.build((None, codebook.shape[1]))
    layer.embeddings.assign(codebook)
    layer.counts.assign(np.full(len(codebook), counts, "float32"))
    layer.sums.assign(codebook * counts)
    layer.initialized.assign(1.0)
    return layer


def test_layer():
    check_layer(
        VectorQuantizerEMA,
        {
            "num_embeddings": 6,
            "embedding_dim": 4,
            "commitment_cost": 0.5,
            "decay": 0.9,
            "epsilon": 1e-4,
            "dead_code_threshold": 0.1,
            "seed": 3,
        },
        input_shape=(5, 3, 4),
        output_shapes=[(5, 3, 4), (5, 3)],
        num_trainable=0,
        num_non_trainable=2 * 6 * 4 + 6 + 1,
        output_dtypes=(None, "int32"),
        float32_state=True,
    )


def test_defaults_are_the_papers():
    layer = VectorQuantizerEMA()
    assert (layer.num_embeddings, layer.embedding_dim) == (512, 64)
    assert (layer.decay, layer.commitment_cost) == (0.99, 0.25)


def test_new_layer_counts_one_vector_per_code():
    layer = VectorQuantizerEMA(6, 4)
    layer.build((None, 4))
    np.testing.assert_array_equal(ops.convert_to_numpy(layer.counts), 6 * [1])
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer.sums), ops.convert_to_numpy(layer.embeddings)
    )


@pytest.mark.parametrize("decay", [0.99, 0.5])
def test_three_steps(decay):
    codebook = normal(6, 4, seed=1)
    layer = built(codebook, decay=decay, dead_code_threshold=0)
    codebook = np.float64(codebook)
    counts, sums = np.ones(6), codebook.copy()
    for step in range(3):
        x = normal(5, 4, 4, seed=step)
        quantized, codes = layer(x, training=True)
        flat = x.reshape(-1, 4)
        expected = nearest(flat, codebook)
        np.testing.assert_array_equal(
            ops.convert_to_numpy(codes).ravel(), expected
        )
        # The outputs are of the codebook before the step.
        np.testing.assert_allclose(
            ops.convert_to_numpy(quantized).reshape(-1, 4),
            codebook[expected],
            rtol=1e-5,
        )
        one_hot = np.eye(6)[expected]
        counts = decay * counts + (1 - decay) * one_hot.sum(0)
        sums = decay * sums + (1 - decay) * one_hot.T @ flat
        codebook = sums / counts[:, None]
        for weight, value in (
            (layer.counts, counts),
            (layer.sums, sums),
            (layer.embeddings, codebook),
        ):
            np.testing.assert_allclose(
                ops.convert_to_numpy(weight), value, rtol=1e-5, atol=1e-6
            )


def test_restart_resets_the_sum():
    layer = built(normal(6, 4, seed=1), dead_code_threshold=0.1)
    layer.counts.assign([4.0, 4.0, 4.0, 0.1, 4.0, 4.0])
    x = np.full((20, 4), 9, "float32")
    layer(x, training=True)
    count = 2 * 0.1 * (0.99 * 20.1 + 0.01 * 20) / 6
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.sums)[3], 4 * [9 * count], rtol=1e-5
    )


def test_code_under_epsilon_is_held():
    codebook = np.array([[0.0, 0.0], [8.0, 8.0]], "float32")
    layer = built(codebook, epsilon=1e-3, dead_code_threshold=0)
    layer.counts.assign([1.0, 1e-4])
    layer.sums.assign([[0.0, 0.0], [5.0, 5.0]])  # 50000 if it were divided.
    layer(np.zeros((10, 2), "float32"), training=True)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(layer.codebook)[1], [8.0, 8.0]
    )


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_average_of_a_constant_in_half_precision(policy):
    layer = built(np.full((1, 1), 900, "float32"), dtype=policy)
    x = np.full((8, 1), 1000, "float32")
    for _ in range(100):
        layer(x, training=True)
    # N goes to 8 and m to 8000.
    past = 0.99**100
    expected = (past * 900 + (1 - past) * 8000) / (past + (1 - past) * 8)
    np.testing.assert_allclose(
        ops.convert_to_numpy(layer.codebook), [[expected]], rtol=1e-4
    )


def test_bad_batch_leaves_the_codebook():
    layer = built(normal(6, 4, seed=1))
    before = layer.get_weights()
    x = normal(20, 4)
    x[3, 2] = np.inf
    layer(x, training=True)
    for value, expected in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_learns_clusters_without_help():
    centres = np.array([[0, 0], [0, 4], [4, 0], [4, 4]], "float32") + 50
    rng = np.random.default_rng(0)
    layer = VectorQuantizerEMA(32, 2, decay=0.9)
    for _ in range(60):
        noise = rng.normal(scale=0.1, size=(64, 2))
        x = centres[rng.integers(4, size=64)] + noise
        layer(x.astype("float32"), training=True)
    codebook = ops.convert_to_numpy(layer.codebook)
    order = nearest(centres, codebook)
    np.testing.assert_allclose(codebook[order], centres, atol=0.3)
    assert len(np.unique(nearest(codebook, centres))) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decay": 1.0}, r"`decay` must be in \(0, 1\). Received: 1.0"),
        ({"decay": 0}, r"`decay` must be in \(0, 1\). Received: 0"),
        ({"epsilon": 0}, "`epsilon` must be a finite number above 0.*: 0"),
        ({"epsilon": np.inf}, "`epsilon` must be a finite number.*: inf"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        VectorQuantizerEMA(**arguments)


def test_survives_a_keras_file(tmp_path):
    entry = keras.Input((4,))
    model = keras.Model(entry, VectorQuantizerEMA(6, 4)(entry))
    model(normal(50, 4), training=True)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    x = normal(50, 4, seed=1)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(copy(x)[1]), ops.convert_to_numpy(model(x)[1])
    )
    for value, expected in zip(
        copy.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(value, expected)

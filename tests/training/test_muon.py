import keras
import numpy as np
import pytest
from keras import ops

from keras_vqvae2 import HierarchicalVQVAE
from keras_vqvae2.training import Muon

SHAPES = [(3, 3, 8, 16), (4, 4, 3, 32), (1, 1, 24, 8), (40, 24)]


def run(optimizer, shapes, gradients, name="kernel"):
    """Values of variables, zero at first, after the steps `gradients`."""
    variables = [
        keras.Variable(np.zeros(shape, "float32"), name=name)
        for shape in shapes
    ]
    optimizer.build(variables)
    for step in gradients:
        optimizer.apply([ops.convert_to_tensor(g) for g in step], variables)
    return [ops.convert_to_numpy(v) for v in variables]


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@pytest.mark.parametrize("shape", SHAPES)
def test_step_is_along_the_orthogonal_factor(shape):
    gradient = normal(shape)
    (value,) = run(Muon(0.1), [shape], [[gradient]])
    matrix = gradient.reshape(-1, shape[-1])
    u, _, v = np.linalg.svd(matrix, full_matrices=False)
    length = 0.1 * 0.2 * np.sqrt(max(matrix.shape))
    singular = u.T @ -value.reshape(matrix.shape) @ v.T / length
    # The iteration brings singular values near 1, not to it: to 0.68 ... 1.13
    # in exact arithmetic, by its coefficients.
    diagonal = np.diag(singular)
    assert 0.6 < diagonal.min() and diagonal.max() < 1.25
    np.testing.assert_allclose(singular, np.diag(diagonal), atol=0.05)


def test_step_does_not_depend_on_the_gradient_scale():
    shape = (3, 3, 8, 16)
    values = [
        run(Muon(0.1), [shape], [[scale * normal(shape)]])[0]
        for scale in (2.0**-8, 1.0, 2.0**8)  # exact in bfloat16
    ]
    np.testing.assert_allclose(values[0], values[1], atol=1e-4)
    np.testing.assert_allclose(values[2], values[1], atol=1e-4)


def test_momentum():
    """m <- 0.95 m + g; the step is along g + 0.95 m."""
    shape = (12, 12)
    first, second = normal(shape, 0), normal(shape, 1)
    once = run(Muon(0.1), [shape], [[first]])[0]
    twice = run(Muon(0.1), [shape], [[first], [second]])[0]
    momentum = 0.95 * first + second
    expected = run(Muon(0.1), [shape], [[second + 0.95 * momentum]])[0]
    np.testing.assert_allclose(twice - once, expected, atol=5e-3)


@pytest.mark.parametrize(
    "shape, name", [((16,), "bias"), ((), "scale"), ((9, 4), "embeddings")]
)
def test_other_weights_take_the_steps_of_adam(shape, name):
    gradients = [[normal(shape, seed)] for seed in range(3)]
    (value,) = run(Muon(0.02, adam_lr_ratio=0.5), [shape], gradients, name)
    (expected,) = run(keras.optimizers.Adam(0.01), [shape], gradients, name)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_excluded_layers_take_the_steps_of_adam():
    shape = (3, 3, 4, 4)
    gradients = [[normal(shape)]]
    optimizer = Muon(0.02, exclude_layers=["kernel"])
    (value,) = run(optimizer, [shape], gradients)
    (expected,) = run(keras.optimizers.Adam(0.01), [shape], gradients)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)


def test_config_round_trip():
    optimizer = Muon(0.03, adam_lr_ratio=0.25, exclude_layers=["last"])
    config = keras.saving.serialize_keras_object(optimizer)
    restored = keras.saving.deserialize_keras_object(config)
    assert isinstance(restored, Muon)
    assert restored.get_config() == optimizer.get_config()


def test_fit():
    keras.utils.set_random_seed(0)
    model = HierarchicalVQVAE((2, 2), 8, 4, 1, num_embeddings=8)
    model.compile(Muon(1e-2, global_clipnorm=1.0))
    images = np.random.default_rng(0).integers(0, 255, (8, 2, 2, 3))
    images = np.kron(images, np.ones((1, 8, 8, 1))).astype("uint8")
    history = model.fit(images, batch_size=4, epochs=12, verbose=0).history
    assert history["skipped_steps"][-1] == 0
    assert history["mse"][-1] < 0.8 * history["mse"][0]

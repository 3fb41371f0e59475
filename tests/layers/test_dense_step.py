import keras
import numpy as np
import pytest
from keras import ops

from keras_vqvae2.layers import _dense_step
from keras_vqvae2.layers._dense_step import apply_dense
from keras_vqvae2.layers._dense_step import convolve_row
from keras_vqvae2.layers._dense_step import dense_weights
from keras_vqvae2.layers._dense_step import product
from keras_vqvae2.layers._dense_step import row_by_row


@pytest.mark.parametrize("shape", [(1, 8), (2, 8), (3, 8), (4, 8), (2, 5, 8)])
def test_product_is_a_product_of_matrices(shape, monkeypatch):
    monkeypatch.setattr(_dense_step, "on_cpu_by_xla", lambda: True)
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=shape), rng.normal(size=(8, 6))
    x, kernel = x.astype("float32"), kernel.astype("float32")
    received = product(*map(ops.convert_to_tensor, (x, kernel)))
    np.testing.assert_allclose(
        ops.convert_to_numpy(received), x @ kernel, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("by_xla", [True, False])
def test_few_rows_by_themselves(by_xla, monkeypatch):
    monkeypatch.setattr(_dense_step, "on_cpu_by_xla", lambda: by_xla)
    sizes = (None, 1, 2, 3, 4)
    expected = [False, True, by_xla, by_xla, False]
    assert [row_by_row(size) for size in sizes] == expected


def test_weights_are_those_of_the_layer():
    layer = keras.layers.Dense(5)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    expected = ops.convert_to_numpy(layer(x))
    received = apply_dense(dense_weights(layer), ops.convert_to_tensor(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(received), expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("kernel_size", [(1, 1), (2, 5), (3, 3)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_a_row_of_a_convolution(kernel_size, use_bias):
    layer = keras.layers.Conv2D(
        6,
        kernel_size,
        data_format="channels_last",
        use_bias=use_bias,
        bias_initializer="random_normal",
    )
    x = np.random.default_rng(0).normal(size=(2, kernel_size[0], 9, 4))
    x = ops.convert_to_tensor(x.astype("float32"))
    expected = ops.convert_to_numpy(layer(x))
    received = ops.convert_to_numpy(convolve_row(layer, x))
    assert received.shape == expected.shape == (2, 1, 10 - kernel_size[1], 6)
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)

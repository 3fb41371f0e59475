import keras
import numpy as np
import pytest
from keras import ops

from keras_vqvae2.layers._subpixel import SubpixelConv2DTranspose


@pytest.mark.parametrize("shape", [(2, 5, 7, 6), (1, 1, 1, 3), (1, 1, 4, 8)])
@pytest.mark.parametrize("filters, activation", [(1, None), (3, "relu")])
def test_equals_the_transposed_convolution(shape, filters, activation):
    ours = SubpixelConv2DTranspose(
        filters, activation=activation, bias_initializer="normal"
    )
    theirs = keras.layers.Conv2DTranspose(
        filters,
        4,
        strides=2,
        padding="same",
        activation=activation,
        data_format="channels_last",
    )
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    ours.build(shape)
    theirs.build(shape)
    theirs.set_weights(ours.get_weights())
    expected = ops.convert_to_numpy(theirs(x))
    np.testing.assert_allclose(
        ops.convert_to_numpy(ours(x)), expected, atol=1e-5
    )
    assert tuple(ours.compute_output_shape(shape)) == expected.shape

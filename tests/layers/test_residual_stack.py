import keras
import numpy as np
import pytest
from layer_check import check_layer
from reference import Reference

from keras_vqvae2.layers import ResidualStack


def test_layer():
    check_layer(
        ResidualStack,
        {"num_residual_blocks": 2, "residual_dim": 4, "skip_relu": True},
        input_shape=(5, 6, 8),
        output_shapes=[(5, 6, 8)],
        num_trainable=2 * (3 * 3 * 8 * 4 + 4 + 4 * 8 + 8),
    )


@pytest.mark.parametrize("skip_relu", [False, True])
def test_values(skip_relu):
    stack = ResidualStack(2, 4, skip_relu)
    x = np.random.default_rng(1).normal(size=(2, 5, 6, 8))
    stack.build(x.shape)
    assert [tuple(weight.shape) for weight in stack.weights] == 2 * [
        (3, 3, 8, 4),
        (4,),
        (1, 1, 4, 8),
        (8,),
    ]
    for weight in stack.weights:
        weight.assign(keras.random.normal(weight.shape, stddev=0.3))
    weights = {
        weight.path: np.array(value)
        for weight, value in zip(
            stack.weights, stack.get_weights(), strict=True
        )
    }
    expected = Reference(weights).residual_stack(x, stack.name, skip_relu)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(stack(x.astype("float32"))),
        expected,
        rtol=1e-4,
        atol=1e-5,
    )
    assert expected.max() > 1 and expected.min() == 0


def test_no_blocks_is_a_relu():
    outputs = ResidualStack(0, 4)(np.array([[[[-1.0, 2.0]]]], "float32"))
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(outputs), [[[[0.0, 2.0]]]]
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 4), "`num_residual_blocks` must be .* at least 0.*: -1"),
        ((1.5, 4), "`num_residual_blocks` must be an integer .*: 1.5"),
        ((2, 0), "`residual_dim` must be a positive integer. Received: 0"),
        ((2, "4"), "`residual_dim` must be a positive integer.*'4'"),
        ((2, 4, 1), "`skip_relu` must be True or False. Received: 1"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResidualStack(*arguments)

import keras
import numpy as np
import pytest
from layer_check import check_layer
from reference import Reference

from keras_vqvae2.layers import Decoder
from keras_vqvae2.layers import Encoder


def _conv_size(kernel, inputs, outputs):
    return kernel * kernel * inputs * outputs + outputs


BLOCK = _conv_size(3, 8, 4) + _conv_size(1, 4, 8)
SIZES = {"hidden_dim": 8, "residual_dim": 4, "num_residual_blocks": 1}
CONFIG = {**SIZES, "skip_relu": True}


def test_encoder_layer():
    check_layer(
        Encoder,
        {"stride": 4, **CONFIG},
        input_shape=(8, 12, 3),
        output_shapes=[(2, 3, 8)],
        num_trainable=_conv_size(4, 3, 4)
        + _conv_size(4, 4, 8)
        + _conv_size(3, 8, 8)
        + BLOCK,
    )


def test_decoder_layer():
    check_layer(
        Decoder,
        {"output_dim": 3, "stride": 4, **CONFIG},
        input_shape=(2, 3, 5),
        output_shapes=[(8, 12, 3)],
        num_trainable=_conv_size(3, 5, 8)
        + BLOCK
        + _conv_size(4, 8, 4)
        + _conv_size(4, 4, 3),
    )


@pytest.mark.parametrize("halvings", [1, 2, 3])
@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_values(kind, halvings):
    if kind == "encoder":
        layer = Encoder(2**halvings, **SIZES, name=kind)
        x = np.random.default_rng(1).normal(size=(2, 16, 8, 3))
    else:
        layer = Decoder(3, 2**halvings, **SIZES, name=kind)
        x = np.random.default_rng(1).normal(size=(2, 2, 3, 5))
    layer.build(x.shape)
    for weight in layer.weights:
        weight.assign(keras.random.normal(weight.shape, stddev=0.3))
    weights = {
        weight.path: np.array(value)
        for weight, value in zip(
            layer.weights, layer.get_weights(), strict=True
        )
    }
    expected = getattr(Reference(weights), kind)(x, kind, halvings)
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(layer(x.astype("float32"))),
        expected,
        rtol=1e-3,
        atol=1e-4,
    )


def test_only_the_outer_conv_has_half_the_channels():
    encoder = Encoder(8, **SIZES)
    encoder.build((None, None, None, 3))
    dims = [conv.kernel.shape[-2:] for conv in encoder.convs]
    assert dims == [(3, 4), (4, 8), (8, 8), (8, 8)]
    decoder = Decoder(3, 8, **SIZES)
    decoder.build((None, None, None, 5))
    dims = [conv.kernel.shape[:1:-1] for conv in decoder.upsamples]
    assert dims == [(8, 8), (8, 4), (4, 3)]


@pytest.mark.parametrize("layer_class", [Encoder, lambda **k: Decoder(3, **k)])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stride": 3}, "stride must be a power of two, 2 or more.*: 3"),
        ({"stride": 1}, "stride must be a power of two, 2 or more.*: 1"),
        ({"stride": 4.0}, "stride must be a power of two, 2 or more.*: 4.0"),
        ({"hidden_dim": 7}, "`hidden_dim` must be a positive even .*: 7"),
        ({"hidden_dim": 0}, "`hidden_dim` must be a positive even .*: 0"),
        ({"residual_dim": 0}, "`residual_dim` must be a positive .*: 0"),
        ({"num_residual_blocks": -1}, "`num_residual_blocks` must .*: -1"),
    ],
)
def test_bad_arguments(layer_class, arguments, message):
    with pytest.raises(ValueError, match=message):
        layer_class(**arguments)


def test_decoder_without_outputs():
    with pytest.raises(ValueError, match="`output_dim` must be a positive"):
        Decoder(0)

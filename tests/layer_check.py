"""The check that every layer has to pass."""

import json

import keras
import numpy as np

LAYER_ARGUMENTS = ("name", "trainable", "dtype")
COMPUTE_DTYPES = {"float32": "float32", "mixed_bfloat16": "bfloat16"}


def check_layer(
    layer_class,
    config,
    input_shape,
    output_shapes,
    num_trainable,
    num_non_trainable=0,
    output_dtypes=(None,),
    float32_state=False,
):
    """Checks one layer class, with batches of any size.

    Args:
        layer_class: Public class.
        config: Every constructor argument of the class but Layer's.
        input_shape: Shape of an input, without the batch.
        output_shapes: Shape of each output, without the batch.
        num_trainable: Number of trainable scalars.
        num_non_trainable: Number of other scalars, without random seeds.
        output_dtypes: Dtype of each output; None is the compute dtype.
        float32_state: Whether weights are float32 without autocast.
    """
    layer = layer_class(**config)
    inputs = np.random.default_rng(0).normal(size=(2, *input_shape))
    inputs = inputs.astype("float32")

    # get_config: Layer's own entries and the constructor's arguments.
    before = layer.get_config()
    assert before == {**{k: before[k] for k in LAYER_ARGUMENTS}, **config}

    layer.build((None, *input_shape))
    assert layer.built
    assert layer.get_config() == before, "build changed the arguments"
    assert _size(layer.trainable_weights) == num_trainable
    assert _size(layer.non_trainable_weights) == num_non_trainable

    # Symbolic and eager calls agree on shapes and dtypes.
    symbolic = _tuple(layer(keras.Input(input_shape)))
    eager = _tuple(layer(inputs))
    for i, shape in enumerate(output_shapes):
        assert symbolic[i].shape == (None, *shape)
        assert tuple(eager[i].shape) == (2, *shape)
        dtype = output_dtypes[i] or "float32"
        assert keras.backend.standardize_dtype(symbolic[i].dtype) == dtype
        assert keras.backend.standardize_dtype(eager[i].dtype) == dtype
    assert len(symbolic) == len(eager) == len(output_shapes)

    # A copy through JSON, with the same weights, computes the same.
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    assert "keras_vqvae2>" + layer_class.__name__ in text
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(copy) is layer_class
    assert copy.get_config() == layer.get_config()
    copy.set_weights(layer.get_weights())
    for ours, theirs in zip(eager, _tuple(copy(inputs)), strict=True):
        ours, theirs = map(keras.ops.convert_to_numpy, (ours, theirs))
        np.testing.assert_array_equal(ours, theirs)

    for policy, compute_dtype in COMPUTE_DTYPES.items():
        layer = layer_class(**config, dtype=policy)
        parts = layer._flatten_layers(include_self=True)
        symbolic = _tuple(layer(keras.Input(input_shape)))
        assert {part.dtype_policy.name for part in parts} == {policy}
        for i, dtype in enumerate(output_dtypes):
            for outputs in (symbolic, _tuple(layer(inputs))):
                found = keras.backend.standardize_dtype(outputs[i].dtype)
                assert found == (dtype or compute_dtype)
        assert {weight.dtype for weight in layer.weights} == {"float32"}
        if float32_state:
            assert not any(weight._autocast for weight in layer.weights)
        _check_fit(policy, layer_class, config, inputs)


def _check_fit(policy, layer_class, config, inputs):
    """A step of stock training through the layer moves what lies before."""
    entry = keras.Input(inputs.shape[1:])
    before = keras.layers.Dense(inputs.shape[-1])
    outputs = layer_class(**config, dtype=policy)(before(entry))
    model = keras.Model(entry, _tuple(outputs)[0])
    model.compile("sgd", loss="mse")
    old = before.get_weights()
    targets = np.ones((2, *model.output_shape[1:]), "float32")
    history = model.fit(inputs, targets, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for o, n in zip(old, before.get_weights(), strict=True):
        assert np.any(o != n), "no gradient came through"


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)


def _size(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)

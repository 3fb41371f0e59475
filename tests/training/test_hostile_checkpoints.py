"""Checkpoints that no training wrote."""

import json

import numpy as np
import pytest
import safetensors.numpy
from tiny_models import make_vqvae

from keras_vqvae2.training import resumable_fit
from keras_vqvae2.weights import to_numpy


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    model = make_vqvae(num_residual_blocks=0)
    model.compile("sgd")
    fit(model, path, steps=1)
    return model, path


def fit(model, path, steps):
    import tensorflow as tf

    images = np.arange(2 * 16 * 16 * 3).reshape((2, 16, 16, 3)) % 256
    dataset = tf.data.Dataset.from_tensors(images.astype("uint8")).repeat()
    resumable_fit(model, dataset.skip, steps, path, steps_per_epoch=1)


ROW = {"epoch": 0, "step": 1, "loss": 0.5}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("[" * 10_000, "nested too deep"),
        ("{", "not a whole checkpoint"),
        ('{"step": 1, "step": 2}', "the key 'step' twice"),
        ("[]", "no checkpoint of this version"),
        ("3", "no checkpoint of this version"),
        ("{}", "no checkpoint of this version"),
        *(
            (changes, "is damaged: its step or history")
            for changes in (
                {"step": None},
                {"step": -1},
                {"step": "1"},
                {"step": True},
                {"step": 2**63},
                {"steps_per_epoch": None},
                {"steps_per_epoch": "1"},
                {"history": None},
                {"history": {}},
                {"history": [3]},
                {"history": [{"step": 1}]},
                {"history": [{**ROW, "loss": "low"}]},
            )
        ),
        ({"steps_per_epoch": 7}, "was made with steps_per_epoch=7"),
    ],
)
def test_state(trained, tmp_path, state, message):
    model, whole = trained
    with safetensors.safe_open(whole, framework="numpy") as file:
        known = json.loads(file.metadata()["state"])
    if isinstance(state, dict):
        state = json.dumps({**known, **state})
    path = tmp_path / "checkpoint.safetensors"
    safetensors.numpy.save_file(
        safetensors.numpy.load_file(whole), path, metadata={"state": state}
    )
    before = [to_numpy(weight) for weight in model.weights]
    with pytest.raises(ValueError, match=message) as caught:
        fit(model, path, steps=2)
    assert len(str(caught.value)) < 500
    for old, weight in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, to_numpy(weight))

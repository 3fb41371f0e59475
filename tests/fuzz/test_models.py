"""Saved models and checkpoints from anywhere, on every backend."""

import json

import hypothesis
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from mutations import SETTINGS
from mutations import attempt
from mutations import changed_bytes
from mutations import changed_json
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.arrays import read_arrays
from keras_vqvae2.training.resumable_fit import _Checkpoint
from keras_vqvae2.training.training_log import EpochHistory
from keras_vqvae2.weights import weight_arrays

# Whole models take a while.
FEW = hypothesis.settings(
    SETTINGS, max_examples=max(6, SETTINGS.max_examples // 20)
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    keras_vqvae2.VQVAE2(
        make_vqvae((2,), num_residual_blocks=0)
    ).save_pretrained(folder)
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}


@FEW
@hypothesis.given(data=st.data())
def test_saved_model(saved, data):
    folder, whole = saved
    config = json.loads(whole["config.json"])
    changed = dict(whole)
    if data.draw(st.booleans()):
        changed["config.json"] = data.draw(changed_json(config))
    else:
        name = "model.safetensors"
        changed[name] = data.draw(changed_bytes(whole[name]))
    for name, content in changed.items():
        (folder / name).write_bytes(content)
    names = ("config.json", "model.safetensors")
    files.write_sha256sums(folder, names)
    model = attempt(lambda: keras_vqvae2.from_pretrained(folder))
    if model is not None:
        arrays, _ = read_arrays(folder / "model.safetensors")
        assert arrays_digest(weight_arrays(model.vqvae)) == arrays_digest(
            arrays
        )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    model = make_vqvae((2,), num_residual_blocks=0)
    model.compile("sgd")
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    checkpoint = _Checkpoint(model, path, 1, 5, EpochHistory())
    checkpoint.history.rows = [{"epoch": 0, "step": 1, "loss": 0.5}]
    checkpoint.save()
    return checkpoint, path.read_bytes()


@FEW
@hypothesis.given(data=st.data())
def test_checkpoint(checkpoint, data):
    checkpoint, whole = checkpoint
    if data.draw(st.booleans()):
        checkpoint.path.write_bytes(data.draw(changed_bytes(whole)))
    else:
        checkpoint.path.write_bytes(whole)
        arrays, metadata = read_arrays(checkpoint.path)
        state = data.draw(changed_json(json.loads(metadata["state"])))
        state = state.decode("utf-8", "replace")
        safetensors.numpy.save_file(
            arrays, checkpoint.path, metadata={"state": state}
        )
    restored = attempt(lambda: (checkpoint.restore(), True))
    if restored is not None:
        arrays, metadata = read_arrays(checkpoint.path)
        checkpoint.save()
        again, metadata_again = read_arrays(checkpoint.path)
        assert arrays_digest(again) == arrays_digest(arrays)
        for key in ("step", "history"):
            assert str(json.loads(metadata_again["state"])[key]) == str(
                json.loads(metadata["state"])[key]
            )

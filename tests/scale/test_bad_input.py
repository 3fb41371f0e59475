"""What cannot be distributed is said at once."""

import keras
import numpy as np
import pytest
import runs
import tensorflow as tf
from tiny_models import PRIOR_SIZES
from tiny_models import VQVAE_SIZES

from keras_vqvae2.cli import main
from keras_vqvae2.recipes import TrainingOptions
from keras_vqvae2.recipes import train_two_stages
from keras_vqvae2.training import distribute

BACKEND = keras.backend.backend()


def test_unknown_strategy():
    with pytest.raises(ValueError, match="one of none, mirrored, .*: 'ddp'"):
        with distribute("ddp"):
            pass


def test_wrong_backend():
    if BACKEND != "torch":
        pytest.skip("of the torch backend")
    with pytest.raises(ValueError, match="needs the tensorflow or jax backend"):
        with distribute("mirrored"):
            pass


@pytest.mark.parametrize(
    "value", [None, "{}", "not JSON", '{"cluster": {"worker": []}}']
)
def test_missing_description_of_the_workers(value, monkeypatch):
    if BACKEND == "torch":
        pytest.skip("torch trains on one device")
    variable = "TF_CONFIG"
    if BACKEND == "jax":
        variable = "KERAS_DISTRIBUTION_JOB_ADDRESSES"
        value = None
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ValueError, match=f"(?s)multiworker.*{variable}"):
        with distribute("multiworker"):
            pass


def test_no_tpu():
    if BACKEND == "torch":
        pytest.skip("torch trains on one device")
    with pytest.raises(ValueError, match="found no TPU"):
        with distribute("tpu"):
            pass


def test_batch_that_the_devices_cannot_share():
    if BACKEND == "torch":
        pytest.skip("torch trains on one device")
    with distribute("mirrored") as num_replicas:
        assert num_replicas == 2
        model = runs.make_model("vqvae")
        model.compile("sgd")
        images = runs.examples("vqvae", 9)
        with pytest.raises(ValueError, match="batch of 9 .* by 2 devices"):
            model.fit(images, batch_size=9)
        with pytest.raises(ValueError, match="batch of 1 .* by 2 devices"):
            model.fit(images, batch_size=4)  # The last one.
    if BACKEND == "tensorflow":  # `fit` outside of the scope is usual there.
        before = model.get_weights()
        for data, message in (
            (images, "batch of 1 .* by 2 devices"),
            (tf.data.Dataset.from_tensor_slices(images).batch(4), "drop_rem"),
        ):
            with pytest.raises(ValueError, match=message):
                model.fit(data, batch_size=4 if data is images else None)
        for weight, old in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weight, old)


def test_batch_that_cannot_be_split():
    model = runs.make_model("vqvae")
    model.compile("sgd", gradient_accumulation_steps=3)
    with pytest.raises(ValueError, match="batch of 8 .* in gradient_acc.*of 3"):
        model.fit(runs.dataset("vqvae"))


def test_accumulation_by_the_optimizer():
    model = runs.make_model("vqvae")
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="Pass it to `compile` instead"):
        model.compile(optimizer)
    with pytest.raises(ValueError, match="`gradient_accumulation_steps` must"):
        model.compile("sgd", gradient_accumulation_steps=0)


def test_command_line(tmp_path, capsys, monkeypatch):
    if BACKEND != "tensorflow":
        pytest.skip("is run once, from the tensorflow backend")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    arguments = ["train", "--data", str(tmp_path), "--output", "x"]
    assert main([*arguments, "--strategy", "multiworker"]) == 2
    assert "TF_CONFIG" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1"),
        ({"num_heads": 3}, "multiple of `num_heads`"),
        ({"kernel_size": 33}, "`kernel_size` must be"),
    ],
)
def test_priors_are_checked_before_stage_1(tmp_path, changes, message):
    options = TrainingOptions(steps=1, warmup_steps=0)
    priors = {
        "top": PRIOR_SIZES | {"num_attention_layers": 1},
        "bottom": PRIOR_SIZES | {"num_attention_layers": 1} | changes,
    }
    with pytest.raises(ValueError, match=message):
        train_two_stages(
            tmp_path,
            tmp_path / "run",
            vqvae={"strides": (2, 2), **VQVAE_SIZES, "level_dropout": 0.1},
            priors=priors,
            image_size=16,
            vqvae_options=options,
            prior_options=dict.fromkeys(priors, options),
        )
    assert not (tmp_path / "run").exists()


def test_one_device_needs_nothing():
    with distribute() as num_replicas:
        assert num_replicas == 1
        model = runs.make_model("vqvae")
        model.compile("sgd")
        history = model.fit(runs.examples("vqvae", 9), verbose=0).history
    assert np.isfinite(history["loss"]).all()

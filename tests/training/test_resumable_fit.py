import csv
import json
import os
import signal

import keras
import numpy as np
import pytest
import safetensors
import safetensors.numpy
import tensorflow as tf
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.models import hierarchical_vqvae
from keras_vqvae2.training import TrainingLog
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.training import resumable_fit
from keras_vqvae2.weights import to_numpy
from keras_vqvae2.weights import weight_names

once = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once is enough"
)


def _batches(step):
    def batch(index):
        values = tf.random.stateless_uniform(
            (4, 16, 16, 3), seed=[1, index], maxval=256, dtype=tf.int32
        )
        return tf.cast(values, tf.uint8)

    return tf.data.Dataset.range(step, 10**9).map(batch)


def _nothing(*_):
    pass


def _model(use_ema=False, **kwargs):
    keras.utils.set_random_seed(0)
    model = make_vqvae(**kwargs)
    model.compile(
        keras.optimizers.Adam(1e-2, use_ema=use_ema, ema_momentum=0.9)
    )
    return model


class _KillAt(keras.callbacks.Callback):
    def __init__(self, steps):
        super().__init__()
        self.steps = set(steps)
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count in self.steps:
            raise SystemExit


def _values(model):
    return [
        to_numpy(variable)
        for variable in model.variables + model.optimizer.variables
    ]


@pytest.mark.parametrize(
    ("steps_per_epoch", "average"),
    [
        (4, True),
        (4, False),
        pytest.param(5, True, marks=once),
        pytest.param(5, False, marks=once),
    ],
)
def test_killed_run_equals_the_unbroken_one(tmp_path, steps_per_epoch, average):
    validation_data = next(iter(_batches(10**6))).numpy()

    def fit(model, folder, **kwargs):
        callbacks = [TrainingLog(folder, verbose=False)]
        if average:
            callbacks.append(keras.callbacks.SwapEMAWeights())
        callbacks += kwargs.pop("callbacks", [])
        return resumable_fit(
            model,
            _batches,
            14,
            folder / "checkpoint.safetensors",
            steps_per_epoch=steps_per_epoch,
            validation_data=validation_data,
            callbacks=callbacks,
            verbose=0,
            **kwargs,
        )

    unbroken = _model(use_ema=average)
    history = fit(unbroken, tmp_path / "unbroken")
    # In the middle of an epoch, in its last step, and right after a resume.
    kill = _KillAt([3, 3 + 3, 3 + 3 + 1])
    for _ in range(3):
        with pytest.raises(SystemExit):
            fit(
                _model(use_ema=average),
                tmp_path / "killed",
                callbacks=[kill],
                checkpoint_minutes=0,
            )
    killed = _model(use_ema=average)
    assert fit(killed, tmp_path / "killed", checkpoint_minutes=0) == history
    for a, b in zip(_values(unbroken), _values(killed), strict=True):
        np.testing.assert_array_equal(a, b)
    logs = [
        (tmp_path / name / "history.csv").read_text()
        for name in ("unbroken", "killed")
    ]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 1 + -(-14 // steps_per_epoch)


class _WeightsOfSteps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        self.values.append(_weights(self.model))


def _weights(model):
    return {
        name: to_numpy(weight)
        for name, weight in zip(weight_names(model), model.weights, strict=True)
    }


def test_moving_average_of_the_weights(tmp_path):
    """It is validated and left in the model; training goes on without it."""
    validation_data = next(iter(_batches(10**6))).numpy()
    model, path = _model(use_ema=True), tmp_path / "checkpoint.safetensors"
    steps = _WeightsOfSteps()
    history = resumable_fit(
        model,
        _batches,
        5,
        path,
        steps_per_epoch=3,
        validation_data=validation_data,
        callbacks=[steps, keras.callbacks.SwapEMAWeights()],
        verbose=0,
    )
    found, last = _weights(model), steps.values[-1]
    saved = safetensors.numpy.load_file(path)
    for name, value in last.items():
        # Keras swaps on TensorFlow by additions, which round.
        np.testing.assert_allclose(
            saved[f"model/{name}"], value, rtol=1e-5, atol=1e-6
        )
        if "quantizer" in name:
            np.testing.assert_array_equal(found[name], value)
            continue
        average = steps.values[0][name]
        for values in steps.values[1:]:
            average = 0.9 * average + 0.1 * values[name]
        np.testing.assert_allclose(found[name], average, rtol=1e-5, atol=1e-6)
    (loss, *_) = model.evaluate(validation_data, batch_size=4, verbose=0)
    np.testing.assert_allclose(loss, history["val_loss"][-1], rtol=1e-5)


@pytest.mark.parametrize("average", [True, False])
def test_restored_weights_are_kept(tmp_path, average):
    """By a callback, at the end; the checkpoint has those of the last step."""
    model, path = _model(use_ema=average), tmp_path / "checkpoint.safetensors"
    steps = _WeightsOfSteps()
    stopping = keras.callbacks.EarlyStopping(
        "steps", mode="min", patience=1, restore_best_weights=True
    )
    count = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(steps=epoch)
    )
    resumable_fit(
        model,
        _batches,
        9,
        path,
        steps_per_epoch=3,
        callbacks=[steps, count, stopping],
        verbose=0,
    )
    assert len(steps.values) == 6
    found, saved = _weights(model), safetensors.numpy.load_file(path)
    for name, best in steps.values[2].items():
        np.testing.assert_array_equal(found[name], best)
        np.testing.assert_array_equal(
            saved[f"model/{name}"], steps.values[5][name]
        )
    assert any(
        (found[name] != value).any() for name, value in steps.values[5].items()
    )


class _SignalAt(keras.callbacks.Callback):
    def __init__(self, number, step, times=1):
        super().__init__()
        self.number, self.step, self.times = number, step, times

    def on_train_batch_end(self, batch, logs=None):
        if int(to_numpy(self.model.optimizer.iterations)) == self.step:
            for _ in range(self.times):
                signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("number", "step", "error"),
    [
        (signal.SIGINT, 1, KeyboardInterrupt),
        # The last of its epoch.
        pytest.param(signal.SIGTERM, 2, SystemExit, marks=once),
    ],
)
def test_a_signal_waits_for_the_step_and_a_checkpoint(
    tmp_path, number, step, error
):
    path = tmp_path / "checkpoint.safetensors"
    before = signal.getsignal(number)

    def fit(*callbacks):
        return resumable_fit(
            _model(),
            _batches,
            4,
            path,
            steps_per_epoch=2,
            callbacks=callbacks,
            verbose=0,
        )

    with pytest.raises(error) as caught:
        fit(_SignalAt(number, step))
    assert f"after step {step}, saved in {path}: go on" in str(caught.value)
    assert signal.getsignal(number) == before
    assert getattr(caught.value, "code", 143) == 143
    assert fit()["step"] == [2, 4]


@once
def test_a_second_signal_does_not_wait(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    callback = _SignalAt(signal.SIGINT, 1, times=2)
    with pytest.raises(KeyboardInterrupt, match="^interrupted$"):
        resumable_fit(
            _model(), _batches, 4, path, callbacks=[callback], verbose=0
        )
    assert not path.exists()


def test_history_and_prolonging(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    model = _model()
    history = resumable_fit(
        model, _batches, 4, path, steps_per_epoch=2, verbose=0
    )
    assert history["step"] == [2, 4]
    history = resumable_fit(
        _model(), _batches, 6, path, steps_per_epoch=2, verbose=0
    )
    assert history["step"] == [2, 4, 6]
    assert len(history["loss"]) == 3


def test_early_stopping_ends_the_run(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    history = resumable_fit(
        _model(),
        _batches,
        9,
        tmp_path / "c.safetensors",
        steps_per_epoch=2,
        callbacks=[Stop()],
        verbose=0,
    )
    assert history["step"] == [2]


def test_errors(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    resumable_fit(_model(), _batches, 1, path, steps_per_epoch=2, verbose=0)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="Resume from it"):
        resumable_fit(_model(), _batches, 2, path, resume=False)
    with pytest.raises(ValueError, match="steps_per_epoch=2. Received: 3"):
        resumable_fit(_model(), _batches, 2, path, steps_per_epoch=3)
    other = keras_vqvae2.HierarchicalVQVAE(hidden_dim=8, residual_dim=4)
    other.compile("adam")
    with pytest.raises(ValueError, match="does not fit this model"):
        resumable_fit(other, _batches, 2, path, steps_per_epoch=2)
    model = _model()
    model.compile(keras.optimizers.SGD(1e-2))
    with pytest.raises(ValueError, match="does not fit this model"):
        resumable_fit(model, _batches, 2, path, steps_per_epoch=2)
    with pytest.raises(ValueError, match="`steps` must be a positive"):
        resumable_fit(_model(), _batches, 0, path)
    assert path.read_bytes() == before
    path.write_bytes(before[:1000])
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        resumable_fit(_model(), _batches, 2, path)


@once
@pytest.mark.parametrize(
    "kind", ["model", "optimizer", "metric", "model/quantizer_top/counts"]
)
def test_a_checkpoint_of_a_failed_run(tmp_path, kind):
    path = tmp_path / "checkpoint.safetensors"
    resumable_fit(_model(), _batches, 1, path, steps_per_epoch=2, verbose=0)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    name = next(
        name
        for name, array in arrays.items()
        if name.startswith(kind) and array.dtype == "float32"
    )
    arrays[name] = np.full_like(arrays[name], np.nan)
    safetensors.numpy.save_file(arrays, path, metadata)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=f"{name} has values .* not finite"):
        resumable_fit(_model(), _batches, 2, path, steps_per_epoch=2)
    assert path.read_bytes() == before


@once
@pytest.mark.parametrize(
    ("steps", "limit", "message"),
    [
        (7, 100, "Since step 2, 5 of 5 steps changed nothing"),  # At the end.
        (99, 4, "Since step 2, 4 of 4 steps changed nothing"),
    ],
)
def test_skipped_steps_end_a_run(tmp_path, monkeypatch, steps, limit, message):
    monkeypatch.setitem(resumable_fit.__globals__, "_MAX_SKIPPED", limit)

    path = tmp_path / "checkpoint.safetensors"
    options = {"steps_per_epoch": 2, "verbose": 0}
    resumable_fit(_model(), _batches, 2, path, **options)

    def poisoned(step):
        return _batches(step).map(lambda x: tf.cast(x, tf.float32) * np.nan)

    monkeypatch.setattr(hierarchical_vqvae, "check_training_images", _nothing)
    with pytest.raises(ValueError, match=message):
        resumable_fit(_model(), poisoned, steps, path, **options)


@pytest.mark.parametrize("minutes", [float("nan"), -1, float("inf"), None])
def test_minutes_between_checkpoints(tmp_path, minutes):
    with pytest.raises(ValueError, match="`checkpoint_minutes` must be"):
        resumable_fit(
            _model(), None, 2, tmp_path / "c", checkpoint_minutes=minutes
        )


STATE = {
    "format": "keras-vqvae2 checkpoint 2",
    "step": 1,
    "steps_per_epoch": 2,
    "history": [],
}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("[" * 10_000, "not a whole checkpoint"),
        ("{", "not a whole checkpoint"),
        ("[]", "is no checkpoint of this version"),
        ("{}", "is no checkpoint of this version"),
        (json.dumps({"format": STATE["format"]}), "is damaged: its step or"),
        *(
            (json.dumps({**STATE, **change}), "is damaged: its step or history")
            for change in (
                {"step": -1},
                {"step": "3"},
                {"step": None},
                {"steps_per_epoch": True},
                {"history": None},
                {"history": ["epoch,step,loss"]},
                {"history": [{"epoch": 0, "loss": 1.0}]},
                {"history": [{"epoch": 0, "step": 1, "loss": "low"}]},
                {"history": [{"epoch": 0, "step": 1, "loss": [1.0]}]},
            )
        ),
        (json.dumps(STATE), "does not fit this model"),
    ],
)
def test_a_checkpoint_of_something_else(tmp_path, state, message):
    path = tmp_path / "checkpoint.safetensors"
    arrays = {"x": np.zeros(1)}
    safetensors.numpy.save_file(arrays, path, metadata={"state": state})
    with pytest.raises(ValueError, match=message):
        resumable_fit(_model(), _batches, 2, path, steps_per_epoch=2)


def test_a_pipe_is_no_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    os.mkfifo(path)
    with pytest.raises(OSError, match="is not a regular file"):
        resumable_fit(_model(), _batches, 2, path, steps_per_epoch=2)


def test_log_has_pictures_and_scalars(tmp_path):
    picture = np.full((8, 8, 3), 7, "uint8")
    log = TrainingLog(tmp_path, make_picture=lambda: picture, verbose=False)
    _model().fit(_batches(0), steps_per_epoch=1, callbacks=[log], verbose=0)
    (events,) = (tmp_path / "tensorboard").iterdir()
    tags = set()
    for record in tf.data.TFRecordDataset(str(events)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        tags |= {value.tag for value in event.summary.value}
    assert {"loss", "psnr", "usage_top", "perplexity_bottom"} <= tags
    assert any(tag.startswith("reconstructions") for tag in tags)
    with open(tmp_path / "history.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["step"] == "1" and float(row["loss"]) > 0


def test_schedule():
    schedule = WarmupStableDecay(2.0, steps=10, warmup_steps=4, decay_steps=5)
    values = [float(schedule(step)) for step in range(11)]
    expected = [0.5, 1, 1.5, 2, 2, 2, 1.6, 1.2, 0.8, 0.4, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="must fit|fit into"):
        WarmupStableDecay(1.0, steps=3, warmup_steps=2, decay_steps=2)
    with pytest.raises(ValueError, match="`learning_rate` must be a finite"):
        WarmupStableDecay(float("nan"), steps=3)

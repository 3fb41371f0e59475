import contextlib
import json
import pathlib
import time

import keras
import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import check_number
from keras_vqvae2.arrays import parse_json
from keras_vqvae2.arrays import read_arrays
from keras_vqvae2.arrays import write_arrays
from keras_vqvae2.backend.distribution import is_chief
from keras_vqvae2.backend.distribution import worker
from keras_vqvae2.files import atomic_path
from keras_vqvae2.interrupts import Held
from keras_vqvae2.interrupts import stop
from keras_vqvae2.layers.saved_seeds import seed_states
from keras_vqvae2.training.training_log import EpochHistory
from keras_vqvae2.weights import to_numpy
from keras_vqvae2.weights import weight_names

# A loss scale that starts too high costs fewer.
_MAX_SKIPPED = 100
_FORMAT = "keras-vqvae2 checkpoint 2"


def resumable_fit(
    model,
    make_dataset,
    steps,
    checkpoint_path,
    *,
    steps_per_epoch=500,
    checkpoint_minutes=5.0,
    resume=True,
    **kwargs,
):
    """`model.fit` on an endless stream of batches that survives a kill.

    A checkpoint of everything that training changes (weights, codebooks,
    optimizer, metrics of the epoch so far, position in the data, history) is
    written every few minutes and at the end. A run that was killed and
    started again resumes from it: batches, weights and logs equal those of an
    uninterrupted run. After Ctrl-C or SIGTERM it finishes the step, or the
    validation, and writes a checkpoint first; a second signal stops at once.
    Several workers are stopped at once, since they wait for each other.

    With an optimizer of `use_ema=True`, training goes on from its own weights
    and the model has the averages at the end, or what a callback restores then;
    codebooks of `VectorQuantizerEMA` are averages already and stay as they are.

    Args:
        model: Compiled and built Keras model.
        make_dataset: Function that takes a step and returns the tf.data
            dataset of the batches from that step on, endless, such as
            `lambda step: image_folder_dataset(..., start_step=step)`.
        steps: Training steps in all.
        checkpoint_path: Path of the checkpoint, a safetensors file.
        steps_per_epoch: Steps after which `fit` validates, logs and calls the
            callbacks' `on_epoch_end`. It need not be a pass over the data.
        checkpoint_minutes: Minutes between checkpoints.
        resume: Whether an existing checkpoint is gone on from. If not, its
            presence is an error, so that nothing is overwritten.
        **kwargs: Arguments of `model.fit`, for example `validation_data` and
            `callbacks`.

    Returns:
        Dict of lists: the history of all epochs, those before the kill too.

    Raises:
        FileExistsError: If the checkpoint exists and `resume` is false.
        KeyboardInterrupt: After Ctrl-C, when the checkpoint is written.
        SystemExit: After SIGTERM, likewise, with the exit code 143.
        ValueError: If the checkpoint does not fit the model, holds values
            that are not finite, was made with other `steps_per_epoch`, or an
            argument is out of range; or if most steps, for a hundred of them
            or until the end, were skipped for gradients that are not finite.

    Example:

    ```python
    model = keras_vqvae2.HierarchicalVQVAE(
        hidden_dim=8, residual_dim=4, num_embeddings=16, embedding_dim=4
    )
    model.compile("adam")
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3))
    dataset = tf.data.Dataset.from_tensors(images.astype("uint8")).repeat()
    history = keras_vqvae2.training.resumable_fit(
        model, dataset.skip, 4, folder / "checkpoint.safetensors",
        steps_per_epoch=2, verbose=0,
    )
    assert len(history["loss"]) == 2
    ```
    """
    check_integer("steps", steps)
    check_integer("steps_per_epoch", steps_per_epoch)
    check_number("checkpoint_minutes", checkpoint_minutes, 0)
    callbacks = list(kwargs.pop("callbacks", ()))
    logs = [c for c in callbacks if isinstance(c, EpochHistory)]
    history = logs[0] if logs else EpochHistory()
    checkpoint = _Checkpoint(
        model, checkpoint_path, steps_per_epoch, checkpoint_minutes, history
    )
    if checkpoint.exists():
        if not resume:
            raise FileExistsError(
                f"There is a checkpoint at {checkpoint_path}. Resume from it, "
                "or choose another place for a new run."
            )
        checkpoint.restore()
    end = _End(checkpoint, steps)
    callbacks.insert(0, end)
    callbacks += [checkpoint] if logs else [history, checkpoint]

    scope = contextlib.nullcontext()
    if worker()[1] == 1:
        scope = checkpoint.held.scope()
    with scope, _without_averages(model.optimizer):
        # An epoch that was interrupted is finished by a call of its own; the
        # last one may be short.
        while checkpoint.step < steps:
            epoch, done = divmod(checkpoint.step, steps_per_epoch)
            if done or steps - checkpoint.step < steps_per_epoch:
                until = min((epoch + 1) * steps_per_epoch, steps)
                epochs, length = epoch + 1, until - checkpoint.step
            else:
                epochs, length = steps // steps_per_epoch, steps_per_epoch
            model.fit(
                make_dataset(checkpoint.step),
                initial_epoch=epoch,
                epochs=epochs,
                steps_per_epoch=length,
                callbacks=callbacks,
                **kwargs,
            )
            if model.stop_training:  # by a callback
                break
        if not end.reached:
            end.reach()
        checkpoint.stop_if_asked()
    checkpoint.check_skipped()
    return history.history


@contextlib.contextmanager
def _without_averages(optimizer):
    """Keeps `fit` from ending with an optimizer's averages as weights."""
    optimizer.finalize_variable_values = lambda weights: None
    try:
        yield
    finally:
        del optimizer.finalize_variable_values


class _End(keras.callbacks.Callback):
    """Saves the last weights, then puts the optimizer's averages in place.

    Before other callbacks' `on_train_end`, as in Keras: the best weights that
    `EarlyStopping` restores are not overwritten.
    """

    def __init__(self, checkpoint, steps):
        super().__init__()
        self.checkpoint, self.steps = checkpoint, steps
        # As it is outside `_without_averages`.
        optimizer = checkpoint.model.optimizer
        self.put_averages = optimizer.finalize_variable_values
        self.reached = False

    def on_train_end(self, logs=None):
        if self.model.stop_training or self.checkpoint.step >= self.steps:
            self.reach()

    def reach(self):
        self.checkpoint.save()
        self.put_averages(self.checkpoint.model.trainable_weights)
        self.reached = True


class _Checkpoint(keras.callbacks.Callback):
    """Saves and restores all that training changes."""

    def __init__(self, model, path, steps_per_epoch, minutes, history):
        super().__init__()
        self.set_model(model)
        self.path = pathlib.Path(path)
        self.steps_per_epoch = steps_per_epoch
        self.seconds = 60 * minutes
        self.step = 0
        self.history = history
        self.held = Held("Finishing the step; once more to stop at once.")
        self._saved_at = time.monotonic()
        self._metric_values = None

    def exists(self):
        return self.path.exists()

    def _variables(self):
        """Every variable by its name in the file."""
        model = self.model
        model.optimizer.build(model.trainable_variables)
        named = dict(
            zip(
                (f"model/{name}" for name in weight_names(model)),
                model.weights,
                strict=True,
            )
        )
        for kind, variables in (
            ("seed", seed_states(model)),
            ("optimizer", model.optimizer.variables),
            ("metric", model.metrics_variables),
        ):
            for i, variable in enumerate(variables):
                # Keras numbers the models of a process: leave that out.
                name = variable.name.replace(f"{model.name}_", "", 1)
                named[f"{kind}/{i}/{name}"] = variable
        return named

    def save(self):
        # JAX training holds the state outside the variables until asked.
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        arrays = {
            name: to_numpy(variable)
            for name, variable in self._variables().items()
        }
        state = {
            "format": _FORMAT,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "history": self.history.rows,
        }
        if is_chief():
            with atomic_path(self.path) as temporary:
                write_arrays(temporary, arrays, {"state": json.dumps(state)})
        self._saved_at = time.monotonic()

    def restore(self):
        try:
            arrays, metadata = read_arrays(self.path)
            state = parse_json(metadata.get("state", "{}"))
        except ValueError as error:
            raise ValueError(
                f"{self.path} is not a whole checkpoint: {error}"
            ) from error
        if not isinstance(state, dict) or state.get("format") != _FORMAT:
            raise ValueError(
                f"{self.path} is no checkpoint of this version of keras-vqvae2."
            )
        if not _is_state(state):
            raise ValueError(
                f"{self.path} is damaged: its step or history is not one of a "
                "training."
            )
        if state["steps_per_epoch"] != self.steps_per_epoch:
            raise ValueError(
                f"{self.path} was made with steps_per_epoch="
                f"{state['steps_per_epoch']}. Received: {self.steps_per_epoch}"
            )
        variables = self._variables()
        shapes = {name: tuple(v.shape) for name, v in variables.items()}
        found = {name: array.shape for name, array in arrays.items()}
        if shapes != found:
            differing = sorted(
                name
                for name in shapes.keys() | found.keys()
                if shapes.get(name) != found.get(name)
            )
            raise ValueError(
                f"{self.path} does not fit this model and optimizer: "
                f"{len(differing)} entries differ, first {differing[:3]}."
            )
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{self.path} is of a run that has failed: {name} has "
                    "values that are not finite. Start a new one, with a lower "
                    "`learning_rate`."
                )
        for name, variable in variables.items():
            if not name.startswith("metric/"):
                variable.assign(arrays[name])
        self.step = state["step"]
        self.history.rows = state["history"]
        # `fit` resets the metrics when it starts the epoch: set them then.
        self._metric_values = [
            arrays[name] for name in variables if name.startswith("metric/")
        ]

    def on_train_batch_begin(self, batch, logs=None):
        if self._metric_values is not None:
            if self.step % self.steps_per_epoch:
                for variable, value in zip(
                    self.model.metrics_variables,
                    self._metric_values,
                    strict=True,
                ):
                    variable.assign(value)
            self._metric_values = None
        self._first_batch = batch

    def on_train_batch_end(self, batch, logs=None):
        self.step += batch - self._first_batch + 1
        # The last batch of an epoch is followed by validation and logs, which
        # a resumed run would skip: save after those.
        if self.step % self.steps_per_epoch:
            self._save_if_due()

    def _save_if_due(self):
        due = time.monotonic() - self._saved_at >= self.seconds
        due = due or self.held.number is not None
        if worker()[1] > 1 and keras.backend.backend() == "tensorflow":
            # The workers read their metrics together, so at the same step.
            if self.seconds and self.step % 16:
                return
            import tensorflow as tf

            due = float(
                tf.distribute.get_strategy().reduce(
                    "SUM", tf.constant([float(due)]), axis=0
                )
            )
        if due:
            self.save()
            self.stop_if_asked()

    def stop_if_asked(self):
        """Raises what a signal that was held back would have raised."""
        if self.held.number is not None:
            stop(
                self.held.number,
                f"Stopped after step {self.step}, saved in {self.path}: go on "
                "from there with `resume=True`.",
            )

    def on_epoch_end(self, epoch, logs=None):
        self.check_skipped(minimum=_MAX_SKIPPED)
        self._save_if_due()

    def check_skipped(self, minimum=1):
        """Raises ValueError if most of the last steps changed nothing.

        Args:
            minimum: Number of steps, in whole epochs, that are looked at.
        """
        skipped, since = 0, self.step
        ends = [0, *(row["step"] for row in self.history.rows)]
        for row, start in zip(
            reversed(self.history.rows), reversed(ends[:-1]), strict=True
        ):
            if 2 * row.get("skipped_steps", 0) <= row["step"] - start:
                break
            skipped, since = skipped + row["skipped_steps"], start
        if self.step - since >= minimum:
            raise ValueError(
                f"Since step {since}, {skipped:.0f} of {self.step - since} "
                "steps changed nothing, as their gradients were not finite. "
                "Try a lower `learning_rate`."
            )


def _is_state(state):
    """Whether the JSON of a checkpoint has what `_Checkpoint.save` wrote."""
    rows = state.get("history")
    numbers = [state.get("step"), state.get("steps_per_epoch")]
    if not isinstance(rows, list):
        return False
    for row in rows:
        if not isinstance(row, dict):
            return False
        if not all(type(value) in (int, float) for value in row.values()):
            return False
        numbers += [row.get("epoch"), row.get("step")]
    return all(
        type(number) is int and 0 <= number < 2**63 for number in numbers
    )

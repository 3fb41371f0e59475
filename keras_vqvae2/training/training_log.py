import csv
import pathlib
import sys

import keras

from keras_vqvae2.files import atomic_path
from keras_vqvae2.weights import to_numpy


class EpochHistory(keras.callbacks.Callback):
    """Keeps the logs of each epoch in `rows`, one dict an epoch.

    `resumable_fit` saves and restores them. An epoch that is run again
    replaces its row.
    """

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_epoch_end(self, epoch, logs=None):
        logs = {name: float(value) for name, value in (logs or {}).items()}
        step = int(to_numpy(self.model.optimizer.iterations))
        self.rows = [row for row in self.rows if row["epoch"] < epoch]
        self.rows.append({"epoch": epoch, "step": step, **logs})

    @property
    def history(self):
        """Dict of lists, as that of `keras.callbacks.History`."""
        history = {}
        for row in self.rows:
            for name, value in row.items():
                history.setdefault(name, []).append(value)
        history.pop("epoch", None)
        return history


class TrainingLog(EpochHistory):
    """Logs each epoch: a CSV file, TensorBoard scalars and pictures, a line.

    With `resumable_fit`, the CSV file holds the epochs before a kill too.
    TensorBoard's files are written by TensorFlow: without it there are none.

    Args:
        folder: Folder for `history.csv` and `tensorboard/`.
        make_picture: Function without arguments that returns a uint8 picture
            `(height, width, 3)`, shown in TensorBoard, or None.
        verbose: Whether to print a line an epoch on stderr, and a few in the
            first epoch unless that is a terminal.
        validation: What the values of validation (`val_...`) are of, for that
            line, or None.
    """

    def __init__(
        self, folder, make_picture=None, verbose=True, validation=None
    ):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.make_picture = make_picture
        self.verbose = verbose
        self.validation = validation
        self._writer = None
        self._batches = 0

    def on_train_batch_end(self, batch, logs=None):
        # A terminal has a progress bar. Elsewhere the first line, after a
        # whole epoch, may be hours away.
        self._batches += 1
        if (
            self._batches in (1, 10, 100)
            and self._batches < (self.params.get("steps") or 0)
            and self.verbose
            and logs
            and not sys.stderr.isatty()
        ):
            print(
                f"{self._batches} of {self.params['steps']} steps of the "
                f"epoch: loss {float(logs['loss']):.4g}",
                file=sys.stderr,
                flush=True,
            )

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        names = {name: None for row in self.rows for name in row}
        with (
            atomic_path(self.folder / "history.csv") as temporary,
            open(temporary, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows)

        logs = dict(self.rows[-1])
        del logs["epoch"]
        step = logs.pop("step")
        self._write_tensorboard(step, logs)
        if self.verbose:
            values = "  ".join(f"{k} {v:.4g}" for k, v in logs.items())
            if self.validation is not None:
                values += f"  (val: {self.validation})"
            print(f"step {step}: {values}", file=sys.stderr, flush=True)

    def _write_tensorboard(self, step, logs):
        try:
            import tensorflow as tf
        except ImportError:
            return
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(
                str(self.folder / "tensorboard")
            )
        with self._writer.as_default(step=step):
            for name, value in logs.items():
                tf.summary.scalar(name, value)
            if self.make_picture is not None:
                tf.summary.image("reconstructions", self.make_picture()[None])
        self._writer.flush()

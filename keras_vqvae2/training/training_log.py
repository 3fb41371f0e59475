import csv
import pathlib
import sys

import keras

from keras_vqvae2.files import atomic_path
from keras_vqvae2.weights import to_numpy


class TrainingLog(keras.callbacks.Callback):
    """Logs each epoch: a CSV file, TensorBoard scalars and pictures, a line.

    A resumed run keeps the rows of the epochs before and replaces the rest.

    Args:
        folder: Folder for `history.csv` and `tensorboard/`.
        make_picture: Function without arguments that returns a uint8 picture
            `(height, width, 3)`, shown in TensorBoard, or None.
        verbose: Whether to print a line an epoch on stderr.
    """

    def __init__(self, folder, make_picture=None, verbose=True):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.make_picture = make_picture
        self.verbose = verbose
        self._rows = None
        self._writer = None

    @property
    def _csv_path(self):
        return self.folder / "history.csv"

    def on_epoch_begin(self, epoch, logs=None):
        if self._rows is None:
            self._rows = []
            if self._csv_path.exists():
                with open(self._csv_path, newline="") as file:
                    self._rows = [
                        row
                        for row in csv.DictReader(file)
                        if int(row["epoch"]) < epoch
                    ]

    def on_epoch_end(self, epoch, logs=None):
        import tensorflow as tf

        logs = {name: float(value) for name, value in (logs or {}).items()}
        step = int(to_numpy(self.model.optimizer.iterations))
        self._rows.append({"epoch": epoch, "step": step, **logs})
        names = {name: None for row in self._rows for name in row}
        with (
            atomic_path(self._csv_path) as temporary,
            open(temporary, "w", newline="") as file,
        ):
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self._rows)

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
        if self.verbose:
            values = "  ".join(f"{k} {v:.4g}" for k, v in logs.items())
            print(f"step {step}: {values}", file=sys.stderr, flush=True)

"""One of the processes that train together; run by the tests.

python worker.py STAGE STRATEGY FOLDER [KILL_AT]

Prints and saves what `runs.train` gives, or trains resumably and is killed
after step KILL_AT of this process; 0 for never.
"""

import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import keras
import numpy as np
import runs

from keras_vqvae2.backend.distribution import is_chief
from keras_vqvae2.training import distribute
from keras_vqvae2.training import resumable_fit


class KillAt(keras.callbacks.Callback):
    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    stage, strategy, folder, *kill_at = sys.argv[1:]
    folder = pathlib.Path(folder)
    with distribute(strategy) as num_replicas:
        assert num_replicas == (1 if strategy == "none" else 2)
        model = runs.make_model(stage)
        model.compile(
            keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1)
        )
        data = runs.dataset(stage)
        if kill_at:
            history = resumable_fit(
                model,
                lambda step: data.repeat().skip(step),
                9,
                folder / "checkpoint.safetensors",
                steps_per_epoch=3,
                checkpoint_minutes=0,
                callbacks=[KillAt(int(kill_at[0]))],
                verbose=0,
            )
            results = {**runs.weights(model)}
            for name, values in history.items():
                results[f"history/{name}"] = np.asarray(values)
        else:
            results = runs.train(model, stage)
        if is_chief():
            np.savez(folder / "results.npz", **results)


main()

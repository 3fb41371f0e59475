"""The script for a GPU: JAX, without TensorFlow and matplotlib."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_vqvae2

ROOT = pathlib.Path(__file__).parents[2]
# Neither can be imported.
WITHOUT = """
import runpy, sys
for name in ("tensorflow", "matplotlib", "tensorflow_datasets"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX's way")
def test_trains_without_tensorflow(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 40, 40, 3), "uint8")
    np.save(tmp_path / "train.npy", images)
    np.save(tmp_path / "val.npy", images[:2, :32, :32])
    script = str(ROOT / "examples" / "train_packed.py")
    arguments = [
        *("train", "--data", str(tmp_path / "train.npy")),
        *("--validation-data", str(tmp_path / "val.npy")),
        *("--output", str(tmp_path / "run"), "--image-size", "16"),
        *("--batch-size", "2", "--warmup-steps", "1"),
        *("--steps-per-epoch", "2", "--steps", "3"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", WITHOUT, script, *arguments],
        check=True,
        env=environment,
    )
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert len(history) == 3 and "val_psnr" in history[0]
    model = keras_vqvae2.from_pretrained(tmp_path / "run" / "model")
    assert model.reconstruct(images[:1]).shape == (1, 40, 40, 3)

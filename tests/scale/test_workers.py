"""Two processes that train together equal one."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import runs
from PIL import Image

import keras_vqvae2

BACKEND = keras.backend.backend()
ROOT = pathlib.Path(runs.__file__).parents[2]
if BACKEND == "torch":
    pytest.skip(
        "several workers need tensorflow or jax", allow_module_level=True
    )


def addresses(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    names = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return names


def start(folder, *arguments, number=2, kill_at=None):
    """The processes of one training by `worker.py`, not waited for."""
    script = str(pathlib.Path(__file__).with_name("worker.py"))
    strategy = "none" if number == 1 else "multiworker"
    commands = [
        [script, *arguments, strategy, str(folder)] for _ in range(number)
    ]
    if kill_at is not None:
        for command in commands:
            command.append("0")
        commands[-1][-1] = str(kill_at)
    return start_workers(folder, commands)


def start_workers(folder, commands):
    """A process for each command, which find each other."""
    names = addresses(len(commands))
    processes = []
    for index, command in enumerate(commands):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": "",
        }
        if len(commands) > 1 and BACKEND == "tensorflow":
            environment["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": names},
                    "task": {"type": "worker", "index": index},
                }
            )
        elif len(commands) > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": names[0],
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(len(commands)),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
                "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
            }
        with open(folder / f"log-{index}.txt", "a") as log:
            processes.append(
                subprocess.Popen(
                    [sys.executable, *command],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def finish(folder, processes):
    wait(folder, processes)
    with np.load(folder / "results.npz") as results:
        return dict(results)


def wait(folder, processes):
    try:
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = "".join(path.read_text() for path in folder.glob("log-*"))
    assert codes == [0] * len(processes), logs[-6000:]


def assert_same(results, expected):
    difference, name = runs.largest_difference(results, expected)
    print(f"{len(results)} arrays, {difference:.1e} at {name}")
    assert difference < 1e-5, name


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_two_workers_are_one(stage, tmp_path):
    model = runs.make_model(stage)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1))
    expected = runs.train(model, stage)
    if BACKEND == "jax":  # `runs.evaluate` says why.
        expected = {k: v for k, v in expected.items() if "predict" not in k}
    assert_same(finish(tmp_path, start(tmp_path, stage)), expected)


def test_killed_worker(tmp_path):
    """The survivor cannot go on alone; both started again end as unbroken."""
    if BACKEND != "tensorflow":
        pytest.skip("is run once, from the tensorflow backend")
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    broken.mkdir()
    expected = finish(unbroken, start(unbroken, "vqvae", number=1, kill_at=0))
    survivor, killed = start(broken, "vqvae", kill_at=5)
    assert killed.wait(timeout=300) == -signal.SIGKILL
    survivor.kill()  # As the manager of a cluster does.
    survivor.wait()
    assert (broken / "checkpoint.safetensors").exists()
    assert not (broken / "results.npz").exists()
    results = finish(broken, start(broken, "vqvae", kill_at=0))
    assert len(results["history/loss"]) == 3
    assert_same(results, expected)


def test_command_line(tmp_path):
    """The backend must not have started before the workers are known."""
    data = tmp_path / "data"
    data.mkdir()
    for i in range(4):
        Image.new("RGB", (16, 16), (60 * i, 0, 0)).save(data / f"{i}.png")
    command = [str(ROOT / "keras_vqvae2_cli.py"), "train", "--data", str(data)]
    command += ["--output", str(tmp_path / "run"), "--strategy", "multiworker"]
    command += (
        "--image-size 16 --batch-size 4 --steps 2 --warmup-steps 0".split()
    )
    command += "--steps-per-epoch 1 --hidden-dim 8 --residual-dim 4".split()
    command += "--num-embeddings 8 --embedding-dim 4".split()
    command += ["--validation-data", str(data), "--ema-momentum", "0.9"]
    wait(tmp_path, start_workers(tmp_path, [command, command]))
    model = keras_vqvae2.from_pretrained(tmp_path / "run" / "model")
    assert model.vqvae.num_embeddings == 8

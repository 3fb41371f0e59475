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
    """The processes of one training, not waited for."""
    names = addresses(number)
    processes = []
    for index in range(number):
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": "",
        }
        if number > 1 and BACKEND == "tensorflow":
            environment["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": names},
                    "task": {"type": "worker", "index": index},
                }
            )
        elif number > 1:
            environment |= {
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": names[0],
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(number),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(index),
                "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
            }
        strategy = "none" if number == 1 else "multiworker"
        extra = []
        if kill_at is not None:
            extra = [str(kill_at if index == number - 1 else 0)]
        with open(folder / f"log-{index}.txt", "a") as log:
            processes.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        str(pathlib.Path(__file__).with_name("worker.py")),
                        *arguments,
                        strategy,
                        str(folder),
                        *extra,
                    ],
                    env=environment,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return processes


def finish(folder, processes):
    try:
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    logs = "".join(path.read_text() for path in folder.glob("log-*"))
    assert codes == [0] * len(processes), logs[-6000:]
    with np.load(folder / "results.npz") as results:
        return dict(results)


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

"""Kills commands at random moments, and looks for what is lost or broken.

    KERAS_BACKEND=torch python benchmarks/kills.py [--kills 100] [--seed 0]
        [--jobs train extract-codes train-prior save encode] [--full-disk DIR]

Each job runs once without a kill. Then, over and over, it is started, killed
with SIGKILL after a random time, and what it has written so far is looked at:
whatever is there by its final name must be whole. Started again, it must end
with the same files, byte for byte. Processes are forks of one that has
imported the package: nearly all kills come after the start-up.

`--full-disk` names a small file system, for example of
`mount -t tmpfs -o size=3m none DIR`. There the jobs `save`, `encode` and
`train` write over files of an earlier run until the disk is full: they must
fail with one line, and the earlier files must be whole.
"""

import argparse
import contextlib
import hashlib
import io
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
import traceback

import keras
import numpy as np
from PIL import Image

import keras_vqvae2
from keras_vqvae2.cli.main import main as command

MODEL = ["--strides", "2", "2", "--hidden-dim", "16", "--residual-dim", "8"]
MODEL += ["--num-embeddings", "32", "--embedding-dim", "8"]
RUN = ["--batch-size", "4", "--steps-per-epoch", "5", "--warmup-steps", "1"]
RUN += ["--checkpoint-minutes", "0.002"]


class Job:
    """A command, and what must be whole after a kill.

    Args:
        root: Folder of all the inputs.
        output: What the job writes: a folder.
    """

    def __init__(self, root, output):
        self.root = pathlib.Path(root)
        self.output = pathlib.Path(output)

    def arguments(self):
        """Arguments of the command line."""
        raise AssertionError

    def run(self):
        """Runs or resumes the job in this process; returns its exit code."""
        return command(self.arguments() + ["--resume"] * self.can_resume())

    def can_resume(self):
        """Whether an earlier run has left something to go on from."""
        return self.output.exists()

    def check(self):
        """Raises an exception if what is there is not whole."""

    def results(self):
        """SHA-256 of each result by name."""
        return digests(self.output)


class Train(Job):
    def arguments(self):
        return ["train", "--data", str(self.root / "images"), *MODEL, *RUN] + [
            *("--image-size", "16", "--steps", "60", "--output"),
            str(self.output),
        ]

    def can_resume(self):
        return (self.output / "checkpoint.safetensors").exists()

    def check(self):
        if (self.output / "model").exists():
            keras_vqvae2.from_pretrained(self.output / "model")

    def results(self):
        return digests(self.output / "model")


class ExtractCodes(Job):
    def arguments(self):
        return ["extract-codes", "--data", str(self.root / "images")] + [
            *("--model", str(self.root / "model"), "--image-size", "16"),
            *("--output", str(self.output)),
        ]

    def can_resume(self):
        return False  # it does so by itself


class TrainPrior(Train):
    def arguments(self):
        return ["train-prior", "--codes", str(self.root / "codes"), *RUN] + [
            *("--model", str(self.root / "model"), "--level", "top"),
            *("--hidden-dim", "16", "--residual-dim", "16"),
            *("--num-blocks", "2", "--num-attention-layers", "1"),
            *("--num-heads", "2", "--num-output-blocks", "1"),
            *("--steps", "60", "--output", str(self.output)),
        ]

    def check(self):
        if (self.output / "model").exists():
            keras_vqvae2.PixelSNAILPrior.from_pretrained(self.output / "model")


class Save(Job):
    """Two models in turn, over each other."""

    def run(self):
        models = [
            keras_vqvae2.from_pretrained(self.root / name)
            for name in ("model", "other")
        ]
        for i in range(21):
            models[i % 2].save_pretrained(self.output, overwrite=True)
        return 0

    def check(self):
        if self.output.exists():
            keras_vqvae2.from_pretrained(self.output)
            assert self.results()["model.safetensors"] in [
                digests(self.root / name)["model.safetensors"]
                for name in ("model", "other")
            ]


class Encode(Job):
    def arguments(self):
        return ["encode", str(self.root / "images"), "--model"] + [
            *(str(self.root / "model"), "--output", str(self.output)),
            "--overwrite",
        ]

    def can_resume(self):
        return False

    def check(self):
        # Hidden ones are what a kill has left: the next run removes them.
        for path in self.output.rglob("[!.]*.codes"):
            keras_vqvae2.codec.read_header(path)
            assert path.read_bytes() == self.whole[path.name]


JOBS = {
    "train": Train,
    "extract-codes": ExtractCodes,
    "train-prior": TrainPrior,
    "save": Save,
    "encode": Encode,
}


def digests(folder):
    """SHA-256 of each file in a folder, by name; hidden ones too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def start(job):
    """A process that runs a job."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        with open(os.devnull, "w") as null, open(job.log, "w") as log:
            with (
                contextlib.redirect_stdout(null),
                contextlib.redirect_stderr(log),
            ):
                try:
                    code = job.run()
                except BaseException:
                    traceback.print_exc()
    finally:
        os._exit(code)


def wait(process):
    """Exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def make_inputs(root):
    """Images, two models and codes of them."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    for i in range(24):
        pixels = rng.integers(256, size=(24, 24, 3), dtype="uint8")
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
    for seed, name in enumerate(("model", "other")):
        keras.utils.set_random_seed(seed)
        vqvae = keras_vqvae2.HierarchicalVQVAE(
            (2, 2), 16, 8, num_embeddings=32, embedding_dim=8, seed=seed
        )
        keras_vqvae2.VQVAE2(vqvae).save_pretrained(root / name)
    with contextlib.redirect_stdout(io.StringIO()):
        assert ExtractCodes(root, root / "codes").run() == 0


def kill_job(name, root, kills, rng):
    """Kills one job so many times and prints what came of it."""
    job = JOBS[name](root, root / f"{name}-whole")
    job.log = root / "log"
    started = time.monotonic()
    code = wait(start(job))
    if code:
        sys.exit(f"{name}: {job.log.read_text()}")
    seconds = time.monotonic() - started
    expected = job.results()
    whole = {p.name: p.read_bytes() for p in job.output.rglob("*.codes")}

    job = JOBS[name](root, root / name)
    job.log, job.whole = root / "log", whole
    killed = equal = runs = 0
    left = set()
    while killed < kills:
        shutil.rmtree(job.output, ignore_errors=True)
        runs += 1
        # A run is killed a few times before it may end.
        for _ in range(rng.integers(1, 4)):
            process = start(job)
            time.sleep(rng.uniform(0, seconds))
            os.kill(process, signal.SIGKILL)
            code = wait(process)
            if code not in (0, -signal.SIGKILL):
                print(f"{name}: exit code {code}: {job.log.read_text()}")
            killed += code == -signal.SIGKILL
            job.check()
            if code == 0:
                break
        else:
            code = wait(start(job))
            if code:
                print(f"{name}: exit code {code}: {job.log.read_text()}")
        results = job.results()
        equal += all(results.get(k) == v for k, v in expected.items())
        left |= {k for k in set(results) - set(expected)}
    print(f"| {name} | {killed} | {runs} | {equal} | {len(left)} |", flush=True)
    for path in sorted(left)[:5]:
        print(f"left over: {path}")


def fill_disk(name, root, disk):
    """Runs a job over earlier files on a disk that is too small for both."""
    job = JOBS[name](root, disk / name)
    job.log, job.whole = root / "log", {}
    code = wait(start(job))
    if code:
        sys.exit(f"{name}: {job.log.read_text()}")
    before = job.results()
    filler = disk / "filler"
    with contextlib.suppress(OSError), open(filler, "wb", 0) as file:
        while file.write(bytes(4096)):
            pass
    code = wait(start(job))
    same = job.results() == before
    lines = job.log.read_text().splitlines()
    print(f"{name} on a full disk: exit code {code}, same files: {same}")
    print("  " + "\n  ".join(lines[-3:]))
    filler.unlink()
    shutil.rmtree(job.output)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--full-disk", type=pathlib.Path)
    args = parser.parse_args()
    if keras.backend.backend() != "torch":
        sys.exit("Only PyTorch can be forked: set KERAS_BACKEND=torch.")
    import torch

    torch.set_num_threads(1)
    rng = np.random.default_rng(args.seed)
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(temporary)
        make_inputs(root)
        if args.full_disk:
            for name in ("save", "encode", "train"):
                fill_disk(name, root, args.full_disk)
            return
        print("| job | kills | runs | equal to the unbroken | left over |")
        print("|---" * 5 + "|")
        for name in args.jobs:
            kill_job(name, root, args.kills, rng)


if __name__ == "__main__":
    main()

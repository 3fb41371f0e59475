"""Code files written on each backend and read on each: do all codes agree?

    python benchmarks/codec_exactness.py --data PHOTOS [--size 256]

Each backend writes files of all photographs by the context model, in a process
of its own. Each backend's process then reads every file: with one thread of
BLAS, with two, and with noise of 1e-10 added to each logit. A table counts the
codes that differ. At last the same noise is added without the list of sides
that the files carry: this must go wrong, or the list is not needed.
"""

import argparse
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import safetensors.numpy

BACKENDS = ("tensorflow", "jax", "torch")
NOISE = 1e-10


def write(args):
    """Writes files and codes of the photographs to a folder."""
    import keras_vqvae2
    from keras_vqvae2.codec import write_codes
    from keras_vqvae2.data import list_images
    from keras_vqvae2.data import load_image

    model = keras_vqvae2.from_pretrained(args.model)
    code_model = model.code_model()
    for path in list_images(args.data)[: args.num_images]:
        image = load_image(path)
        top, left = ((side - args.size) // 2 for side in image.shape[:2])
        image = image[top : top + args.size, left : left + args.size]
        codes = [level[0] for level in model.encode(image[None])]
        data = write_codes(codes, image.shape[:2], code_model, "context")
        target = pathlib.Path(args.folder, pathlib.Path(path).stem)
        target.with_suffix(".codes").write_bytes(data)
        arrays = {str(i): level for i, level in enumerate(codes)}
        safetensors.numpy.save_file(arrays, target.with_suffix(".safetensors"))


@contextlib.contextmanager
def noise(size):
    """Adds uniform noise to every logit of the context model."""
    from keras_vqvae2.codec.context_level import GRID
    from keras_vqvae2.codec.context_level import ContextLevel

    exact = ContextLevel._scaled_logits
    rng = np.random.default_rng(0)

    def inexact(self, x):
        scaled = exact(self, x)
        return scaled + GRID * rng.uniform(-size, size, scaled.shape)

    ContextLevel._scaled_logits = inexact
    yield
    ContextLevel._scaled_logits = exact


@contextlib.contextmanager
def blas_threads(number):
    """Makes the context model use so many threads."""
    import threadpoolctl

    from keras_vqvae2.codec import context_model

    original = context_model.one_blas_thread
    context_model.one_blas_thread = lambda: threadpoolctl.threadpool_limits(
        number, "blas"
    )
    yield
    context_model.one_blas_thread = original


def read(args):
    """Prints how many codes of a folder's files differ, in each way."""
    import keras  # the backend, with its threads and libraries

    from keras_vqvae2.codec import CodeModel
    from keras_vqvae2.codec import read_header
    from keras_vqvae2.codec.header import parse

    keras.ops.add(1, 1)
    model = CodeModel.from_pretrained(args.model)
    files = sorted(pathlib.Path(args.folder).glob("*.codes"))

    def differing(with_sides=True):
        wrong = 0
        for path in files:
            arrays = safetensors.numpy.load_file(
                path.with_suffix(".safetensors")
            )
            expected = [arrays[str(i)] for i in range(len(arrays))]
            header, payload = parse(path.read_bytes())
            sides = header.sides if with_sides else ()
            try:
                codes = model.context.decode(payload, sides, header.code_shapes)
            except ValueError:
                wrong += header.num_codes
                continue
            wrong += sum(
                int((a != b).sum())
                for a, b in zip(expected, codes, strict=True)
            )
        return wrong

    if args.without_sides:
        with noise(NOISE):
            print(differing(with_sides=False))
        return
    counts = []
    for threads in (1, 2):
        with blas_threads(threads):
            counts.append(differing())
    with noise(NOISE):
        counts.append(differing())
    listed = sum(len(read_header(path).sides) for path in files)
    print(len(files), listed, *counts)


def run(args, backend, *more):
    """The last line that this script prints in another process."""
    command = [sys.executable, __file__, "--data", args.data, *more]
    command += ["--model", args.model, "--size", str(args.size)]
    command += ["--num-images", str(args.num_images)]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "OPENBLAS_NUM_THREADS": "2",
    }
    result = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return (result.stdout.splitlines() or [""])[-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of photographs")
    parser.add_argument("--model", default="vqvae2-imagenet256")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--num-images", type=int, default=120)
    parser.add_argument("--job", choices=("write", "read"))
    parser.add_argument("--folder")
    parser.add_argument("--without-sides", action="store_true")
    args = parser.parse_args()
    if args.job:
        {"write": write, "read": read}[args.job](args)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folders = {}
        for backend in BACKENDS:
            folders[backend] = pathlib.Path(temporary, backend)
            folders[backend].mkdir()
            folder = ("--folder", str(folders[backend]))
            run(args, backend, "--job", "write", *folder)
        print(
            "| written on | read beside | files | sides listed | codes that "
            "differ: 1 thread | 2 threads | noise |"
        )
        print("|---" * 7 + "|")
        for writer, path in folders.items():
            for reader in BACKENDS:
                job = ("--job", "read", "--folder", str(path))
                row = run(args, reader, *job).split()
                print(
                    f"| {writer} | {reader} | {' | '.join(row)} |", flush=True
                )
        job = ("--job", "read", "--folder", str(folders[BACKENDS[0]]))
        wrong = run(args, BACKENDS[0], *job, "--without-sides")
        print(f"with noise and without the list of sides: {wrong} codes differ")


if __name__ == "__main__":
    main()

"""CPU time of code files, as ratios to the network that makes the codes.

    python benchmarks/codec_speed.py [--model vqvae2-imagenet256]

For images of each size: CPU-seconds (of all threads) to encode the codes of
one image to a file and to decode them, beside those of the autoencoder's own
`encode` and `decode`, alternating, the median of `--rounds`. And wall time of
a folder's worth of files with one process and with one for each core.
"""

import argparse
import functools
import statistics
import time

import numpy as np

import keras_vqvae2
from keras_vqvae2.codec import CodePool
from keras_vqvae2.codec import read_codes
from keras_vqvae2.codec import write_codes
from keras_vqvae2.codec.code_pool import num_cores


def cpu_seconds(function, *args):
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


def photograph(size, seed=0):
    """Smooth noise of all scales: codes as varied as a photograph's."""
    rng = np.random.default_rng(seed)
    image = np.zeros((size, size, 3))
    side = 2
    while side <= size:
        noise = rng.normal(size=(side, side, 3)) * size / side
        repeat = size // side
        image += noise.repeat(repeat, axis=0).repeat(repeat, axis=1)
        side *= 2
    image = 127 + image * (60 / image.std())
    return image.clip(0, 255).astype("uint8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vqvae2-imagenet256")
    parser.add_argument("--sizes", type=int, nargs="+", default=(256, 1024))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=32)
    args = parser.parse_args()

    model = keras_vqvae2.from_pretrained(args.model)
    code_model = model.code_model()
    for size in args.sizes:
        image = photograph(size)[None]
        model.decode(model.encode(image))  # compiles
        times = {name: [] for name in ("encode", "write", "read", "decode")}
        for _ in range(args.rounds):
            seconds, codes = cpu_seconds(model.encode, image)
            times["encode"].append(seconds)
            maps = [level[0] for level in codes]
            seconds, data = cpu_seconds(
                write_codes, maps, (size, size), code_model, "context"
            )
            times["write"].append(seconds)
            seconds, _ = cpu_seconds(read_codes, data, code_model)
            times["read"].append(seconds)
            seconds, _ = cpu_seconds(model.decode, codes)
            times["decode"].append(seconds)
        medians = {name: statistics.median(t) for name, t in times.items()}
        print(
            f"{size}x{size}, {len(data)} bytes: write {medians['write']:.2f} "
            f"CPU-s, {medians['write'] / medians['encode']:.1f} x encode; read "
            f"{medians['read']:.2f} CPU-s, "
            f"{medians['read'] / medians['decode']:.1f} x decode"
        )

    images = np.stack([photograph(256, seed) for seed in range(args.files)])
    codes = list(zip(*model.encode(images), strict=True))
    arguments = [(maps, (256, 256)) for maps in codes]
    write = functools.partial(write_codes, method="context")
    walls = {}
    for workers in (1, num_cores()):
        with CodePool(code_model, workers) as pool:
            list(pool.map(write, arguments[:workers]))  # start up
            start = time.perf_counter()
            list(pool.map(write, arguments))
            walls[workers] = time.perf_counter() - start
    one, many = walls.values() if len(walls) == 2 else (*walls.values(),) * 2
    print(
        f"{args.files} files of 256x256 with {num_cores()} processes: "
        f"{one / many:.2f} times as fast as with one"
    )


if __name__ == "__main__":
    main()

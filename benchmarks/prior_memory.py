"""Memory and time of a training step of the paper's priors.

    python benchmarks/prior_memory.py [--presets vqvae2-ffhq1024/bottom ...]

Each row is a step in a fresh process: the prior of tables 3 and 4 at its full
size, built with its weights, one step with Adam. The peak of the resident
memory at two batch sizes gives the bytes of an image; the rest is weights,
gradients and Adam's two moments. A row that needs more memory than the machine
has is left out; its floating-point operations are stated anyway.
"""

import argparse
import multiprocessing
import os
import resource
import time

import _common
import numpy as np

BATCHES = (1, 2)


def step(arguments, batch, rematerialize, dtype, queue):
    """Puts `(peak bytes, seconds)` of the second of two steps."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    import keras_vqvae2

    prior = keras_vqvae2.PixelSNAILPrior(
        dtype=dtype, rematerialize=rematerialize, **arguments
    )
    prior.compile(keras.optimizers.Adam(3e-4))
    generator = np.random.default_rng(0)
    x = {
        "codes": tuple(
            generator.integers(0, 512, (batch, *size), "int32")
            for size in arguments["sizes"]
        )
    }
    if "num_classes" in arguments:
        x["labels"] = np.zeros((batch,), "int32")
    for _ in range(2):
        started = time.perf_counter()
        prior.train_on_batch(x)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    queue.put((peak, seconds))


def measure(*arguments):
    """`(peak, seconds)`, or None if the process was killed."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=step, args=(*arguments, queue))
    process.start()
    process.join()
    return queue.get() if process.exitcode == 0 else None


def operations(arguments):
    """Floating-point operations of a step on one image, about.

    Two for each weight and position, and as many twice again for the
    gradients. Conditioning is counted as if it were at this level's size.
    """
    from keras_vqvae2.config import num_prior_parameters

    height, width = arguments["sizes"][-1]
    return 6 * num_prior_parameters(**arguments) * height * width


def main():
    from keras_vqvae2.config import num_prior_parameters
    from keras_vqvae2.presets import PRESETS

    rows = {
        f"{name}/{level}": arguments
        for name, preset in PRESETS.items()
        for level, arguments in preset.priors.items()
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presets", nargs="+", choices=rows, default=rows)
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    _common.print_machine(os.cpu_count())
    table = []
    for row in args.presets:
        arguments = rows[row]
        parameters = num_prior_parameters(**arguments)
        for rematerialize in (False, True):
            measured = [
                measure(arguments, batch, rematerialize, args.dtype)
                for batch in BATCHES
            ]
            cells = ["does not fit"] * 3
            if None not in measured:
                (one, seconds), (two, _) = measured
                cells = [
                    f"{one / 2**30:.1f} GiB",
                    f"{(two - one) / 2**30:.2f} GiB",
                    f"{seconds:.0f} s",
                ]
            table.append(
                [
                    row,
                    f"{parameters / 1e6:.1f} M",
                    f"{operations(arguments) / 1e12:.1f}",
                    "yes" if rematerialize else "no",
                    *cells,
                ]
            )
            print(*table[-1], flush=True)
    _common.print_table(
        (
            "prior",
            "parameters",
            "TFLOP an image",
            "rematerialized",
            "peak at batch 1",
            "each further image",
            "step at batch 1",
        ),
        table,
    )


if __name__ == "__main__":
    main()

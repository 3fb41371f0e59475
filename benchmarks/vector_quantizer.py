"""Time and peak memory of VectorQuantizerEMA against lucidrains' layer.

Forward and update of the moving averages, in training mode, without a
backward pass. Contenders run in processes of their own, by turns; memory is
measured in further processes. See README.md.
"""

import argparse
import os
import statistics

import _common
import numpy as np


def make_vectors(num_vectors, dim):
    """The same for all: batches of 4096, as from maps of 64x64."""
    vectors = np.random.default_rng(0).standard_normal(
        (num_vectors // 4096, 4096, dim)
    )
    return vectors.astype("float32")


def our_tasks(threads, num_vectors, dim, num_embeddings):
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _common.limit_threads(backend, threads)
    import keras

    from keras_vqvae2.layers import VectorQuantizerEMA

    layer = VectorQuantizerEMA(
        num_embeddings, dim, commitment_cost=0.25, decay=0.99
    )
    layer.build((None, None, dim))
    if backend == "tensorflow":
        import tensorflow as tf

        step = tf.function(lambda x: (*layer(x, training=True), layer.losses))
    elif backend == "jax":
        import jax

        @jax.jit
        def stateless(state, x):
            outputs, state, losses = layer.stateless_call(
                [], state, x, training=True, return_losses=True
            )
            return (*outputs, losses), state

        state = [v.value for v in layer.non_trainable_variables]

        def step(x):
            nonlocal state
            outputs, state = stateless(state, x)
            return jax.block_until_ready(outputs)
    else:
        import torch

        def step(x):
            with torch.no_grad():
                return (*layer(x, training=True), layer.losses)

    x = keras.ops.convert_to_tensor(make_vectors(num_vectors, dim))

    def step_and_wait():
        outputs = step(x)
        return np.asarray(outputs[1])

    return {"step": step_and_wait}


def peer_tasks(threads, num_vectors, dim, num_embeddings):
    _common.limit_threads("torch", threads)
    import torch
    from vector_quantize_pytorch import VectorQuantize

    torch.manual_seed(0)
    layer = VectorQuantize(
        dim,
        num_embeddings,
        decay=0.99,
        commitment_weight=0.25,
        kmeans_init=False,
        # The straight-through estimator, as ours: its default costs more.
        rotation_trick=False,
    )
    layer.train()
    x = torch.from_numpy(make_vectors(num_vectors, dim))

    def step():
        with torch.no_grad():
            _, codes, _ = layer(x)
            return codes.numpy()

    return {"step": step}


def memory_tasks(contender, **options):
    """Tasks to measure the memory of a step in an otherwise idle process."""
    step = contender(**options)["step"]
    kibibytes = {}

    def start():
        # Forget the peak that imports may have left.
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        kibibytes["before"] = _common.memory_in_kib("VmRSS")

    def stop():
        peak = _common.memory_in_kib("VmHWM")
        return (peak - kibibytes["before"]) / 1024

    return {"start": start, "step": step, "stop": stop}


def peak_memory(make_tasks, steps=3, **options):
    """MiB that the steps took at their peak, beyond inputs and weights."""
    contender = _common.Contender(
        make_tasks.__name__, memory_tasks, contender=make_tasks, **options
    )
    contender.run("start")
    for _ in range(steps):
        contender.run("step")
    peak = contender.run("stop", result=True)
    contender.close()
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-vectors", type=int, default=65536)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument(
        "--num-embeddings", type=int, nargs="+", default=[512, 8192]
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2)
    args = parser.parse_args()

    _common.print_machine(args.threads)
    print(f"N = {args.num_vectors}, D = {args.dim}: forward and EMA update")
    contenders = {"ours": our_tasks, "peer": peer_tasks}
    rows = []
    for num_embeddings in args.num_embeddings:
        options = {
            "threads": args.threads,
            "num_vectors": args.num_vectors,
            "dim": args.dim,
            "num_embeddings": num_embeddings,
        }
        memory = {
            name: peak_memory(make_tasks, **options)
            for name, make_tasks in contenders.items()
        }
        processes = [
            _common.Contender(name, make_tasks, **options)
            for name, make_tasks in contenders.items()
        ]
        seconds = _common.alternate(processes, "step", args.rounds, args.warmup)
        for process in processes:
            process.close()
        median, low, high = _common.ratios(seconds, "ours", "peer")
        rows.append(
            [str(num_embeddings)]
            + [f"{statistics.median(s) * 1e3:.0f}" for s in seconds.values()]
            + [f"{median:.2f}", f"{low:.2f}", f"{high:.2f}"]
            + [f"{peak:.0f}" for peak in memory.values()]
            + [f"{memory['ours'] / memory['peer']:.2f}"]
        )
    _common.print_table(
        [
            "K",
            "ours ms",
            "peer ms",
            "times as fast",
            "min",
            "max",
            "ours MiB",
            "peer MiB",
            "share",
        ],
        rows,
    )


if __name__ == "__main__":
    main()

"""Speed of cached sampling: in full passes, and against rosinality's sampler.

    python benchmarks/sampling.py                  # in full passes of ours
    python benchmarks/sampling.py --peer PEER      # CPU time per image

See README.md.
"""

import argparse
import functools
import os
import statistics
import time

import _common
import numpy as np

# Of the two levels of 256x256 images, at a size for CPUs.
NETWORKS = {
    "32x32, attention": {
        "code_shapes": ((32, 32),),
        "num_attention_layers": 4,
        "num_heads": 8,
        "num_output_blocks": 4,
    },
    "64x64, no attention": {
        "code_shapes": ((32, 32), (64, 64)),
        "num_attention_layers": 0,
        "num_output_blocks": 0,
        "num_conditioning_blocks": 4,
    },
}
WIDTH = 256


def our_arguments(network, width=WIDTH):
    return {
        "num_embeddings": 512,
        "hidden_dim": width,
        "residual_dim": width,
        "num_blocks": 16,
        "kernel_size": 5,
        **NETWORKS[network],
    }


def our_tasks(network, batch, threads, dtype, width=WIDTH):
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _common.limit_threads(backend, threads)
    import keras

    import keras_vqvae2
    from keras_vqvae2 import sampling
    from keras_vqvae2.backend.compile import compile_function

    keras.utils.set_random_seed(0)
    prior = keras_vqvae2.PixelSNAILPrior(
        dtype=dtype, **our_arguments(network, width)
    )
    draws = sampling.uniform_draws(0, range(batch), prior.code_shapes[-1])
    *coarser, codes = (
        np.random.default_rng(0).integers(0, 512, (batch, *size), "int32")
        for size in prior.code_shapes
    )
    sampler = sampling.CachedSampler(prior)

    def call(*codes):
        return prior({"codes": codes}, training=False)

    forward = compile_function(prior, call)

    def full_pass():
        return float(np.asarray(forward(*coarser, codes))[0, 0, 0, 0])

    def sample():
        return float(sampler.sample(draws, coarser)[1][0])

    def cpu_seconds():
        started = time.process_time()
        sample()
        return time.process_time() - started

    return {
        "forward": full_pass,
        "sample": sample,
        "cpu": cpu_seconds,
    }


def peer_tasks(peer, network, batch, threads, rows):
    """The peer's network and sampler with its scripts' defaults."""
    _common.limit_threads("torch", threads)
    import torch

    _common.import_peer(peer)
    import pixelsnail

    torch.manual_seed(0)
    bottom = {
        "attention": False,
        "n_cond_res_block": 3,
        "cond_res_channel": 256,
    }
    size = NETWORKS[network]["code_shapes"][-1]
    has_condition = len(NETWORKS[network]["code_shapes"]) > 1
    model = pixelsnail.PixelSNAIL(
        list(size), 512, 256, 5, 4, 4, 256, **(bottom if has_condition else {})
    ).eval()
    condition = None
    if has_condition:
        condition = torch.randint(512, (batch, 32, 32))

    @torch.no_grad()
    def row_seconds(row):
        """CPU time of one code of a row, in the peer's loop."""
        codes = torch.randint(512, (batch, *size))
        cache = {}
        model(codes[:, :1], condition=condition, cache=cache)
        started = time.process_time()
        # The body of sample_model in the peer's sample.py.
        out, cache = model(
            codes[:, : row + 1], condition=condition, cache=cache
        )
        probabilities = torch.softmax(out[:, :, row, 0], 1)
        torch.multinomial(probabilities, 1).squeeze(-1)
        return time.process_time() - started

    parameters = sum(p.numel() for p in model.parameters())
    tasks = {
        f"row {row}": lambda row=row: row_seconds(row)
        for row in range(0, size[0], rows)
    }
    return {**tasks, "parameters": lambda: float(parameters)}


def in_full_passes(arguments):
    rows = []
    for network in arguments.networks:
        for batch in arguments.batch:
            ours = _common.Contender(
                "ours",
                our_tasks,
                network=network,
                batch=batch,
                threads=arguments.threads,
                dtype=arguments.dtype,
            )
            for task in ("forward", "sample"):
                ours.run(task)
            ratios = []
            for _ in range(arguments.rounds):
                forward = statistics.median(
                    ours.run("forward") for _ in range(3)
                )
                sample = ours.run("sample")
                ratios.append(sample / forward)
            ours.close()
            median = statistics.median(ratios)
            rows.append(
                (
                    network,
                    str(batch),
                    f"{1000 * forward:.0f} ms",
                    f"{1000 * sample:.0f} ms",
                    f"{median:.2f} ({min(ratios):.2f}-{max(ratios):.2f})",
                )
            )
            print(*rows[-1], flush=True)
    _common.print_table(
        ("network", "batch", "full pass", "sample", "full passes"), rows
    )


def against_peer(arguments):
    rows = []
    for network in arguments.networks:
        for batch in arguments.batch:
            options = {
                "network": network,
                "batch": batch,
                "threads": arguments.threads,
            }
            step = NETWORKS[network]["code_shapes"][-1][0] // 8
            peer = _common.Contender(
                "peer",
                peer_tasks,
                peer=arguments.peer,
                rows=step,
                **options,
            )
            # Ours is as wide as it takes to have as many parameters.
            theirs = peer.run("parameters", result=True)
            width, parameters = _common.width_of_equal_size(
                theirs, functools.partial(our_arguments, network)
            )
            ours = _common.Contender(
                "ours",
                our_tasks,
                dtype=arguments.dtype,
                width=width,
                **options,
            )
            ours.run("sample")
            seconds = statistics.median(
                ours.run("cpu", result=True) for _ in range(arguments.rounds)
            )
            height, width = NETWORKS[network]["code_shapes"][-1]
            row_seconds = [
                peer.run(task, result=True)
                for task in peer.tasks
                if task.startswith("row")
            ]
            # The time of a code rises with its row: the trapezoidal rule.
            at = range(0, height, step)
            peer_seconds = width * float(
                np.interp(range(height), at, row_seconds).sum()
            )
            rows.append(
                (
                    network,
                    str(batch),
                    f"{parameters / 1e6:.1f} M",
                    f"{theirs / 1e6:.1f} M",
                    f"{seconds / batch:.2f} s",
                    f"{peer_seconds / batch:.0f} s",
                    f"{peer_seconds / seconds:.0f}",
                )
            )
            print(*rows[-1], flush=True)
            ours.close()
            peer.close()
    _common.print_table(
        (
            "network",
            "batch",
            "parameters, ours",
            "peer",
            "CPU time per image, ours",
            "peer",
            "times as fast",
        ),
        rows,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="the peer's checkout")
    parser.add_argument("--batch", type=int, nargs="+", default=(1, 16))
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="float32")
    arguments = parser.parse_args()
    _common.print_machine(arguments.threads)
    if arguments.peer:
        against_peer(arguments)
    else:
        in_full_passes(arguments)


if __name__ == "__main__":
    main()

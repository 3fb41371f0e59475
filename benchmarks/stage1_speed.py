"""Speed of encode, decode and a train step against rosinality's PyTorch.

Contenders run in processes of their own, by turns. See README.md.
"""

import argparse
import os

import _common
import numpy as np

MODEL = {
    "strides": (4, 2),
    "hidden_dim": 128,
    "residual_dim": 64,
    "num_residual_blocks": 2,
    "num_embeddings": 512,
    "embedding_dim": 64,
}


def make_pixels(batch, size):
    return np.random.default_rng(0).integers(
        0, 256, (batch, size, size, 3), dtype="uint8"
    )


def our_tasks(dtype, threads, shapes):
    """Tasks of this library, called as its users call it."""
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _common.limit_threads(backend, threads)
    import keras

    import keras_vqvae2

    keras.utils.set_random_seed(0)
    vqvae = keras_vqvae2.HierarchicalVQVAE(dtype=dtype, **MODEL)
    vqvae.compile(keras.optimizers.Adam(3e-4))
    model = keras_vqvae2.VQVAE2(vqvae)
    tasks = {}
    for batch, size in shapes:
        images = make_pixels(batch, size)
        codes = model.encode(images)
        assert codes[1].shape == (batch, size // 4, size // 4)
        tasks |= {
            f"encode {size}": lambda images=images: model.encode(images),
            f"decode {size}": lambda codes=codes: model.decode(codes),
            f"train {size}": lambda images=images: vqvae.train_on_batch(images),
        }
    return tasks


def peer_tasks(peer, threads, shapes, autocast, channels_last):
    """Tasks of the peer; images are given to it normalized, as float32."""
    _common.limit_threads("torch", threads)
    import torch

    vqvae = _common.import_peer(peer)
    torch.manual_seed(0)
    model = vqvae.VQVAE(
        channel=MODEL["hidden_dim"],
        n_res_block=MODEL["num_residual_blocks"],
        n_res_channel=MODEL["residual_dim"],
        embed_dim=MODEL["embedding_dim"],
        n_embed=MODEL["num_embeddings"],
    )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)

    def cast():
        return torch.autocast("cpu", torch.bfloat16, enabled=autocast)

    def encode(images):
        model.eval()
        with torch.inference_mode(), cast():
            return model.encode(images)[3:]

    def decode(codes):
        model.eval()
        with torch.inference_mode(), cast():
            return model.decode_code(*codes)

    def train(images):
        # The steps of the peer's train_vqvae.py.
        model.train()
        model.zero_grad()
        with cast():
            out, latent_loss = model(images)
            loss = torch.nn.functional.mse_loss(out, images)
            loss = loss + 0.25 * latent_loss.mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    tasks = {}
    for batch, size in shapes:
        pixels = make_pixels(batch, size).astype("float32") / 127.5 - 1
        images = torch.from_numpy(np.moveaxis(pixels, -1, 1).copy())
        images = images.to(memory_format=layout)
        codes = [level_codes.clone() for level_codes in encode(images)]
        tasks |= {
            f"encode {size}": lambda images=images: encode(images),
            f"decode {size}": lambda codes=codes: decode(codes),
            f"train {size}": lambda images=images: train(images),
        }
    return tasks


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="the peer's checkout")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=["encode", "decode", "train"],
        choices=["encode", "decode", "train"],
    )
    parser.add_argument(
        "--dtypes", nargs="+", default=["float32", "mixed_bfloat16"]
    )
    parser.add_argument(
        "--peer-variants",
        action="store_true",
        help="also the peer under autocast to bfloat16 and in channels_last",
    )
    parser.add_argument(
        "--large-size",
        type=int,
        default=1024,
        help="size at which our cost per pixel is measured, batch 1; 0: none",
    )
    args = parser.parse_args()

    shapes = [(args.batch, args.size)]
    large_shapes = [(1, args.large_size)] if args.large_size else []
    _common.print_machine(args.threads)
    ours = [
        _common.Contender(
            f"ours {dtype}",
            our_tasks,
            dtype=dtype,
            threads=args.threads,
            shapes=shapes + large_shapes,
        )
        for dtype in args.dtypes
    ]
    variants = {"peer float32": (False, False)}
    if args.peer_variants:
        variants["peer channels_last"] = (False, True)
        variants["peer autocast"] = (True, False)
        variants["peer autocast channels_last"] = (True, True)
    peers = [
        _common.Contender(
            name,
            peer_tasks,
            peer=args.peer,
            threads=args.threads,
            shapes=shapes,
            autocast=autocast,
            channels_last=channels_last,
        )
        for name, (autocast, channels_last) in variants.items()
    ]

    print(f"Images/s, median of {args.rounds} rounds: {args.size}x{args.size}")
    speed_rows = []
    ratio_rows = []
    for task in args.tasks:
        seconds = _common.alternate(
            ours + peers, f"{task} {args.size}", args.rounds, args.warmup
        )
        rates = {
            name: args.batch / np.median(values)
            for name, values in seconds.items()
        }
        speed_rows.append([task, *(f"{r:.2f}" for r in rates.values())])
        for contender in ours:
            for peer in peers:
                ratio = _common.ratios(seconds, contender.name, peer.name)
                ratio_rows.append(
                    [task, contender.name, peer.name]
                    + [f"{value:.2f}" for value in ratio]
                )
    _common.print_table(["task", *rates], speed_rows)
    print("Times as fast as the peer, round by round")
    _common.print_table(
        ["task", "contender", "peer", "median", "min", "max"], ratio_rows
    )
    if args.large_size:
        print_cost_per_pixel(ours, args)
    for contender in ours + peers:
        contender.close()


def print_cost_per_pixel(ours, args):
    sizes = (args.size, args.large_size)
    pixels = {args.size: args.batch * args.size**2}
    pixels[args.large_size] = args.large_size**2
    rows = []
    for contender in ours:
        for task in args.tasks:
            seconds = {size: [] for size in sizes}
            for i in range(args.warmup + args.rounds):
                for size in sizes:
                    elapsed = contender.run(f"{task} {size}")
                    if i >= args.warmup:
                        seconds[size].append(elapsed)
            cost = [
                np.array(seconds[size]) / pixels[size] * 1e9 for size in sizes
            ]
            ratio = cost[1] / cost[0]
            rows.append(
                [task, contender.name]
                + [f"{np.median(values):.0f}" for values in cost]
                + [
                    f"{value:.2f}"
                    for value in (np.median(ratio), ratio.min(), ratio.max())
                ]
            )
    print(
        f"Nanoseconds per pixel: {args.size}x{args.size} in batches of "
        f"{args.batch}, {args.large_size}x{args.large_size} one by one"
    )
    _common.print_table(
        ["task", "contender", *map(str, sizes), "ratio", "min", "max"], rows
    )


if __name__ == "__main__":
    main()

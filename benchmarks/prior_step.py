"""Speed of a prior's training step against rosinality's PixelSNAIL.

    python benchmarks/prior_step.py --peer PEER

The peer's top prior has its scripts' defaults, at a smaller width for CPUs;
ours is as wide as it takes to have the same number of parameters. Same batch,
Adam for both, in processes of their own, by turns. See README.md.
"""

import argparse
import os

import _common
import numpy as np

SIZE = (32, 32)
NUM_CODES = 512


def our_sizes(hidden_dim):
    """As many blocks as the peer's: four times four, four attentions."""
    return {
        "code_shapes": (SIZE,),
        "num_embeddings": NUM_CODES,
        "hidden_dim": hidden_dim,
        "residual_dim": hidden_dim,
        "num_blocks": 16,
        "kernel_size": 5,
        "num_attention_layers": 4,
        "num_heads": 8,
        "num_output_blocks": 0,
        "dropout": 0.1,
    }


def make_codes(batch):
    return np.random.default_rng(0).integers(
        0, NUM_CODES, (batch, *SIZE), "int32"
    )


def our_tasks(hidden_dim, batch, threads, dtype):
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    _common.limit_threads(backend, threads)
    import keras

    import keras_vqvae2

    keras.utils.set_random_seed(0)
    prior = keras_vqvae2.PixelSNAILPrior(dtype=dtype, **our_sizes(hidden_dim))
    prior.compile(keras.optimizers.Adam(3e-4))
    x = {"codes": (make_codes(batch),)}

    def step():
        return float(prior.train_on_batch(x)[0])

    return {"train": step}


def peer_tasks(peer, channels, batch, threads, autocast):
    _common.limit_threads("torch", threads)
    import torch

    _common.import_peer(peer)
    torch.manual_seed(0)
    model = make_peer(channels)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    criterion = torch.nn.CrossEntropyLoss()
    codes = torch.from_numpy(make_codes(batch)).long()

    def step():
        # The steps of the peer's train_pixelsnail.py.
        model.train()
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out, _ = model(codes)
            loss = criterion(out.float(), codes)
        loss.backward()
        optimizer.step()
        return loss.item()

    return {"train": step}


def make_peer(channels):
    import pixelsnail

    return pixelsnail.PixelSNAIL(
        list(SIZE), NUM_CODES, channels, 5, 4, 4, channels, dropout=0.1
    )


def count_parameters(peer, channels):
    """Parameters of the peer, and the width at which ours has as many."""
    _common.import_peer(peer)
    theirs = sum(p.numel() for p in make_peer(channels).parameters())
    return theirs, *_common.width_of_equal_size(theirs, our_sizes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="the peer's checkout")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    theirs, hidden_dim, ours = count_parameters(args.peer, args.channels)
    _common.print_machine(args.threads)
    print(
        f"Parameters: the peer's {theirs / 1e6:.2f} M ({args.channels} "
        f"channels), ours {ours / 1e6:.2f} M ({hidden_dim}).\n",
        flush=True,
    )
    options = {"batch": args.batch, "threads": args.threads}
    contenders = [
        _common.Contender(
            f"ours {dtype}",
            our_tasks,
            hidden_dim=hidden_dim,
            dtype=dtype,
            **options,
        )
        for dtype in ("float32", "mixed_bfloat16")
    ] + [
        _common.Contender(
            f"peer {name}",
            peer_tasks,
            peer=args.peer,
            channels=args.channels,
            autocast=autocast,
            **options,
        )
        for name, autocast in (("float32", False), ("autocast", True))
    ]
    seconds = _common.alternate(contenders, "train", args.rounds)
    rows = []
    for contender in contenders:
        mine = seconds[contender.name]
        row = [contender.name, f"{np.median(mine):.2f} s"]
        for peer in ("peer float32", "peer autocast"):
            middle, low, high = _common.ratios(seconds, contender.name, peer)
            row.append(f"{middle:.2f} ({low:.2f}-{high:.2f})")
        rows.append(row)
        contender.close()
    _common.print_table(
        ("step", "median", "peer float32 / it", "peer autocast / it"), rows
    )


if __name__ == "__main__":
    main()

"""Imported models beside rosinality's own network. See README.md.

The peer's `vqvae.py` is imported from its checkout. Random weights, or those of
a checkpoint, go into its network and through `keras_vqvae2.from_pytorch`.
"""

import argparse

import _common
import numpy as np


def peer_network(vqvae, inplace, state, sizes):
    """The peer's network; `inplace` as its residual blocks were until 2021."""
    import torch

    torch.manual_seed(0)
    network = vqvae.VQVAE(**sizes).eval()
    for module in network.modules():
        if isinstance(module, vqvae.ResBlock):
            module.conv[0] = torch.nn.ReLU(inplace=inplace)
    if state is not None:
        network.load_state_dict(state)
        return network
    for name, weight in network.named_parameters():
        if name.endswith("weight"):  # its default hardly tells places apart
            torch.nn.init.normal_(weight, std=1.5 * weight[0].numel() ** -0.5)
    for quantizer in (network.quantize_t, network.quantize_b):
        quantizer.cluster_size.uniform_()
    return network


def compare(network, model, images):
    """What differs: a cell of the codes, and the largest error of a pixel.

    Pixels are decoded from the peer's codes by both.
    """
    import torch
    from keras import ops

    with torch.inference_mode():
        x = torch.tensor(images).float().movedim(-1, 1) / 127.5 - 1
        *_, top, bottom = network.encode(x)
        decoded = network.decode_code(top, bottom).movedim(1, -1)
    codes = [top.numpy(), bottom.numpy()]
    expected = ((decoded.double() + 1) * 127.5).clip(0, 255).numpy()
    found = map(ops.convert_to_numpy, model.vqvae.encode(images))
    wrong = sum(int(np.sum(a != b)) for a, b in zip(found, codes, strict=True))
    pixels = ops.convert_to_numpy(model.vqvae.decode(codes))
    number = sum(map(np.size, codes))
    distinct = sum(len(np.unique(level_codes)) for level_codes in codes)
    cell = f"{wrong} of {number} ({distinct} distinct)"
    return cell, np.abs(pixels - expected).max()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", required=True, help="checkout of the peer")
    parser.add_argument(
        "--checkpoint", help="its weights, of the peer's default sizes"
    )
    parser.add_argument("--size", type=int, default=256)
    args = parser.parse_args()
    vqvae = _common.import_peer(args.peer)
    import keras_vqvae2
    from keras_vqvae2.data import load_image
    from keras_vqvae2.data.image_file import sample_photograph

    images = load_image(sample_photograph())[None, : args.size, : args.size]
    state, rows = None, []
    if args.checkpoint:
        import torch

        state = torch.load(
            args.checkpoint, map_location="cpu", weights_only=True
        )
        chosen = keras_vqvae2.from_pytorch(state).vqvae.skip_relu
        print(f"The photograph tells: skip_relu={chosen}\n")
    for inplace in (False, True):
        for sizes in ({}, {"n_res_channel": 64, "n_res_block": 3}):
            if state is not None and sizes:
                continue
            network = peer_network(vqvae, inplace, state, sizes)
            model = keras_vqvae2.from_pytorch(
                network.state_dict(), skip_relu=inplace
            )
            codes, error = compare(network, model, images)
            rows.append(
                [
                    "relu(x) + f(x)" if inplace else "x + f(x)",
                    str(sizes or "default"),
                    codes,
                    f"{error:.4f}",
                ]
            )
    header = ["Block", "Sizes", "Codes that differ", "Largest pixel error"]
    _common.print_table(header, rows)


if __name__ == "__main__":
    main()

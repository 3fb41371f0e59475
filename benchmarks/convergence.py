"""PSNR and codes in use by CPU time of training, against rosinality's.

Both see the same crops in the same order, each in a process of its own with
one thread. See README.md.
"""

import argparse
import csv
import os
import pathlib
import subprocess
import sys
import time

import _common
import numpy as np

FIELDS = [
    "contender",
    "cpu_seconds",
    "steps",
    "psnr",
    "codes_top",
    "codes_bottom",
]
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def load_images(folder, limit=None):
    """uint8 arrays (height, width, 3) of the images under a folder."""
    from PIL import Image

    paths = sorted(
        path
        for path in pathlib.Path(folder).rglob("*")
        if path.suffix.lower() in SUFFIXES
    )
    if not paths:
        raise ValueError(f"No images were found under {folder}.")
    images = []
    for path in paths[:limit]:
        with Image.open(path) as image:
            images.append(np.asarray(image.convert("RGB")))
    return images


def random_crops(images, size, batch, seed):
    """Endless batches (batch, size, size, 3); the seed fixes all of them."""
    images = [x for x in images if min(x.shape[:2]) >= size]
    generator = np.random.default_rng(seed)
    while True:
        crops = []
        for i in generator.integers(len(images), size=batch):
            height, width, _ = images[i].shape
            y = generator.integers(height - size + 1)
            x = generator.integers(width - size + 1)
            crops.append(images[i][y : y + size, x : x + size])
        yield np.stack(crops)


def center_crops(images, size):
    crops = []
    for image in images:
        height, width, _ = image.shape
        if min(height, width) < size:
            raise ValueError(
                f"Validation images must be at least {size}x{size}. One has "
                f"{height}x{width}."
            )
        y, x = (height - size) // 2, (width - size) // 2
        crops.append(image[y : y + size, x : x + size])
    return np.stack(crops)


def mean_psnr(images, reconstructions):
    """Mean over the images, in dB, both uint8."""
    error = images.astype("float64") - reconstructions
    mse = np.mean(error**2, axis=(1, 2, 3))
    return float(np.mean(10 * np.log10(255.0**2 / np.maximum(mse, 1e-10))))


class Ours:
    def __init__(self, args):
        backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
        _common.limit_threads(backend, args.threads, pin=False)
        import keras

        import keras_vqvae2

        keras.utils.set_random_seed(args.seed)
        vqvae = keras_vqvae2.HierarchicalVQVAE(
            strides=(4, 2), level_dropout=args.level_dropout, dtype=args.dtype
        )
        if args.optimizer == "muon":
            optimizer = keras_vqvae2.training.Muon(1e-3, global_clipnorm=1.0)
        else:
            optimizer = keras.optimizers.Adam(3e-4)
        vqvae.compile(optimizer)
        self.model = keras_vqvae2.VQVAE2(vqvae)

    def prepare(self, crops):
        return crops

    def train(self, crops):
        logs = self.model.vqvae.train_on_batch(crops, return_dict=True)
        return float(logs["loss"])

    def evaluate(self, images):
        codes = self.model.encode(images)
        # The metrics run over the steps since the last reset.
        self.model.vqvae.reset_metrics()
        return self.model.decode(codes), codes


class Peer:
    def __init__(self, args):
        _common.limit_threads("torch", args.threads, pin=False)
        import torch

        vqvae = _common.import_peer(args.peer)
        torch.manual_seed(args.seed)
        self.torch = torch
        self.model = vqvae.VQVAE(n_res_channel=64)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=3e-4)
        self.latent_loss_weight = 0.25

    def prepare(self, crops):
        x = np.moveaxis(crops, -1, 1).astype("float32") / 127.5 - 1
        return self.torch.from_numpy(np.ascontiguousarray(x))

    def train(self, x):
        # The steps of the peer's train_vqvae.py.
        self.model.zero_grad()
        out, latent_loss = self.model(x)
        loss = self.torch.nn.functional.mse_loss(out, x)
        loss = loss + self.latent_loss_weight * latent_loss.mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def evaluate(self, images):
        self.model.eval()
        decoded, codes = [], []
        with self.torch.inference_mode():
            for start in range(0, len(images), 8):
                x = self.prepare(images[start : start + 8])
                batch_codes = self.model.encode(x)[3:]
                out = self.model.decode_code(*batch_codes)
                out = (out.numpy() + 1) * 127.5
                out = np.round(np.clip(out, 0, 255)).astype("uint8")
                decoded.append(np.moveaxis(out, 1, -1))
                codes.append([c.numpy() for c in batch_codes])
        self.model.train()
        codes = [np.concatenate(maps) for maps in zip(*codes, strict=True)]
        return np.concatenate(decoded), codes


def run(args):
    """Trains one contender; prints and writes a line at each checkpoint."""
    images = center_crops(load_images(args.val), args.val_size)
    crops = random_crops(
        load_images(args.train), args.crop, args.batch, args.seed
    )
    contender = Ours(args) if args.contender == "ours" else Peer(args)
    name = args.contender
    if name == "ours":
        name += f" {args.optimizer}"
        if args.dtype != "float32":
            name += f" {args.dtype}"
    seconds = 0.0
    steps = 0
    with open(args.csv, "w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for checkpoint in sorted(args.checkpoints):
            while seconds < checkpoint:
                x = contender.prepare(next(crops))
                start = time.process_time()
                contender.train(x)
                seconds += time.process_time() - start
                steps += 1
            decoded, codes = contender.evaluate(images)
            line = {
                "contender": name,
                "cpu_seconds": f"{seconds:.0f}",
                "steps": steps,
                "psnr": f"{mean_psnr(images, decoded):.2f}",
                "codes_top": len(np.unique(codes[0])),
                "codes_bottom": len(np.unique(codes[1])),
            }
            writer.writerow(line)
            file.flush()
            print(*(f"{k}={v}" for k, v in line.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", required=True, help="folder of images")
    parser.add_argument("--val", required=True, help="folder of images")
    parser.add_argument("--peer", help="the peer's checkout")
    parser.add_argument(
        "--contender", choices=["ours", "peer", "both"], default="both"
    )
    parser.add_argument("--dtype", default="float32", help="ours")
    parser.add_argument(
        "--checkpoints", type=float, nargs="+", default=[600, 1200, 1800]
    )
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--val-size", type=int, default=256)
    parser.add_argument(
        "--optimizer", choices=["muon", "adam"], default="muon", help="ours"
    )
    parser.add_argument(
        "--level-dropout", type=float, default=0.02, help="ours"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", help="default: convergence_<contender>.csv")
    args = parser.parse_args()
    if args.contender != "ours" and not args.peer:
        parser.error("--peer is needed to run the peer.")
    if args.contender != "both":
        args.csv = args.csv or f"convergence_{args.contender}.csv"
        run(args)
        return
    if args.csv:
        parser.error("--csv needs --contender ours or peer.")
    # Side by side; the last --contender counts.
    processes = [
        subprocess.Popen([sys.executable, *sys.argv, "--contender", contender])
        for contender in ("ours", "peer")
    ]
    if any([process.wait() for process in processes]):
        sys.exit(1)


if __name__ == "__main__":
    main()

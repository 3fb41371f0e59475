"""Rate-distortion picture: models beside JPEG and WebP on the same images.

    python benchmarks/rate_distortion.py --model vqvae2-imagenet256 \
        --data PHOTOS --size 256 --model vqvae2-cifar10 --data cifar10/test \
        --size 32 --output rate_distortion.png [--json rate_distortion.json]

One panel for each `--model`. PSNR of uint8 reconstructions against bits per
pixel, means over images. A model's points: codes as they are, and at the
length that its priors give them, or the entropy of their histogram where
there are none. A codec's line: its qualities from 1 to 95. Its point at equal
bits: for each image the best quality whose file is not larger than the raw
codes. Files count whole; the dotted lines leave out as many bytes as the file
of a grey image of the same size and quality has, since for small images a
file is mostly headers. Photographs that are JPEG files themselves come
out almost exact at the quality that they were saved with: JPEG's line has a
peak there.
"""

import argparse
import io
import json

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_vqvae2
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.data import list_images
from keras_vqvae2.evaluation import ReconstructionMetrics
from keras_vqvae2.evaluation import negative_log_likelihood
from keras_vqvae2.files import atomic_path
from keras_vqvae2.images import psnr

CODECS = {
    "JPEG": {"optimize": True, "progressive": True},
    "WEBP": {"method": 6},
}
# What the copy of an image counts that is exact to the last bit.
HIGHEST_PSNR = 60
QUALITIES = (1, 3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 85, 90, 95)


def mean_psnr(images, decoded):
    scores = psnr(np.stack(images), np.stack(decoded))
    return float(np.minimum(scores, HIGHEST_PSNR).mean())


def encode(image, codec, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, codec, quality=quality, **CODECS[codec])
    return file


def decode(file):
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def best_within(image, codec, max_bytes):
    """The best reconstruction by a codec in at most `max_bytes`, or None."""
    low, high, best = 0, 100, None
    while low <= high:
        quality = (low + high) // 2
        file = encode(image, codec, quality)
        if len(file.getvalue()) <= max_bytes:
            best, low = file, quality + 1
        else:
            high = quality - 1
    return best and decode(best)


def codec_line(images, codec):
    """Mean bits per pixel, with and without headers, and PSNR by quality."""
    pixels = images.shape[1] * images.shape[2]
    grey = np.full(images.shape[1:], 128, "uint8")
    line = []
    for quality in QUALITIES:
        files = [encode(image, codec, quality) for image in images]
        header = len(encode(grey, codec, quality).getvalue())
        decoded = [decode(file) for file in files]
        size = np.mean([len(file.getvalue()) for file in files])
        line.append(
            {
                "quality": quality,
                "bits_per_pixel": 8 * size / pixels,
                "bits_per_pixel_without_header": 8 * (size - header) / pixels,
                "psnr": mean_psnr(images, decoded),
            }
        )
    return line


def measure(name, data, size, number):
    """Metrics of a model and of codecs on at most `number` images."""
    model = keras_vqvae2.from_pretrained(name)
    stride = -(-len(list_images(data)) // number)
    priors = set(model.priors) == set(model.vqvae.level_names)
    batches = image_folder_dataset(
        data,
        size,
        8 * stride,
        training=False,
        labels=priors,
        shard=(0, stride),
    )
    reconstruction = ReconstructionMetrics(model)
    images, labels, codes = [], [], []
    for batch in batches:
        batch, label = batch if priors else (batch, None)
        images.append(batch.numpy())
        labels.append(label)
        codes.append(reconstruction.update(images[-1])[0])
    images = np.concatenate(images)
    metrics = reconstruction.result()
    quality = metrics[f"levels={model.vqvae.num_levels}"]["psnr_mean"]
    points = [{"name": "raw codes", "bits": metrics["bits_per_pixel"]}]
    if priors:
        nll = negative_log_likelihood(
            model,
            tuple(map(np.concatenate, zip(*codes, strict=True))),
            np.concatenate(labels),
        )
        points.append(
            {
                "name": "codes at the priors' length",
                "bits": nll["bits_per_pixel"],
            }
        )
    else:
        points.append(
            {
                "name": "codes at their entropy",
                "bits": metrics["bits_per_pixel_entropy"],
            }
        )
    equal = {}
    for codec in CODECS:
        max_bytes = int(metrics["bits_per_pixel"] * size**2 / 8)
        pairs = [
            (image, decoded)
            for image in images
            if (decoded := best_within(image, codec, max_bytes)) is not None
        ]
        equal[codec] = {"images_that_fit": len(pairs)}
        if pairs:
            equal[codec]["psnr"] = mean_psnr(*zip(*pairs, strict=True))
    return {
        "model": name,
        "images": len(images),
        "size": size,
        "psnr": quality,
        "points": points,
        "at_equal_bits": equal,
        "lines": {codec: codec_line(images, codec) for codec in CODECS},
    }


def draw(panel, metrics):
    colours = {"JPEG": "tab:orange", "WEBP": "tab:green"}
    for codec, line in metrics["lines"].items():
        score = [row["psnr"] for row in line]
        for key, style, label in (
            ("bits_per_pixel", "-", codec),
            ("bits_per_pixel_without_header", ":", f"{codec} without header"),
        ):
            bits = [row[key] for row in line]
            panel.plot(bits, score, style, color=colours[codec], label=label)
        equal = metrics["at_equal_bits"][codec]
        if "psnr" in equal:
            count = equal["images_that_fit"]
            panel.plot(
                metrics["points"][0]["bits"],
                equal["psnr"],
                "s",
                color=colours[codec],
                markersize=12,
                markerfacecolor="none",
                label=f"{codec} at equal bits, image by image"
                + f" ({count} fit)" * (count < metrics["images"]),
            )
    for point, marker in zip(metrics["points"], "oD", strict=True):
        panel.plot(
            point["bits"],
            metrics["psnr"],
            marker,
            color="tab:blue",
            markersize=9,
            label=f"{metrics['model']}: {point['name']}",
        )
    least = metrics["points"][-1]["bits"]
    panel.set_xscale("log", base=2)
    panel.set_xlim(least / 4, least * 8)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_ylim(metrics["psnr"] - 10, metrics["psnr"] + 12)
    panel.set_title(
        f"{metrics['images']} images, {metrics['size']}x{metrics['size']}"
    )
    panel.set_xlabel("bits per pixel")
    panel.set_ylabel("PSNR, dB")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="upper left")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--size", action="append", type=int, required=True)
    parser.add_argument("--num-images", type=int, default=200)
    parser.add_argument("--output", required=True, help="file for the picture")
    parser.add_argument("--json", help="file for the metrics")
    args = parser.parse_args()
    if not len(args.model) == len(args.data) == len(args.size):
        parser.error("give --data and --size for each --model")

    results = [
        measure(*row, args.num_images)
        for row in zip(args.model, args.data, args.size, strict=True)
    ]
    if args.json:
        with atomic_path(args.json) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n")
    figure = Figure(figsize=(6 * len(results), 4.5), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, result in zip(panels, results, strict=True):
        draw(panel, result)
        summary = {k: v for k, v in result.items() if k != "lines"}
        print(json.dumps(summary, indent=2))
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()

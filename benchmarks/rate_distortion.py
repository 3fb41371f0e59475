"""Code files beside JPEG, WebP and AVIF: bytes against quality.

    python benchmarks/rate_distortion.py --model vqvae2-imagenet256 \
        --data PHOTOS --size 256 --output rate_distortion.png \
        [--json rate_distortion.json]

One panel for each `--model`; without `--size`, images in their own size. PSNR
of uint8 reconstructions against bits per pixel of whole files, headers
included, means over images. A model's points: raw codes, histogram, context
model, and this at each of `--rate-weights` and `--search-steps`; for a model
with priors, the length that they give the codes. A codec's line: its qualities
from 1 to 95. The table compares at equal bytes by two rules. "Curve": the
codec's mean line, read at the mean bits of the model. "Photo by photo": the
best quality of the codec whose file is not larger than the model's, for each
image by itself. Photographs that are JPEG files themselves come out almost
exact at the quality that they were saved with: JPEG's line has a peak there.
"""

import argparse
import io
import json
import pathlib

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

import keras_vqvae2
from keras_vqvae2.codec.header import METHODS
from keras_vqvae2.data import class_names
from keras_vqvae2.data import list_images
from keras_vqvae2.data import load_image
from keras_vqvae2.evaluation import negative_log_likelihood
from keras_vqvae2.files import atomic_path
from keras_vqvae2.images import psnr

CODECS = {
    "JPEG": {"optimize": True, "progressive": True},
    "WEBP": {"method": 6},
    "AVIF": {},  # Pillow's speed, 6
}
# What the copy of an image counts that is exact to the last bit.
HIGHEST_PSNR = 60
QUALITIES = (1, 3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 85, 90, 95)


def mean_psnr(images, decoded):
    scores = [
        psnr(image[None], other[None])[0]
        for image, other in zip(images, decoded, strict=True)
    ]
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
    """Mean bits per pixel and PSNR by quality."""
    line = []
    for quality in QUALITIES:
        files = [encode(image, codec, quality) for image in images]
        decoded = [decode(file) for file in files]
        line.append(
            {
                "quality": quality,
                "bits_per_pixel": mean_bits(images, files),
                "psnr": mean_psnr(images, decoded),
            }
        )
    return line


def mean_bits(images, files):
    """Mean over images of the bits per pixel of files."""
    return float(
        np.mean(
            [
                8
                * len(getattr(file, "getvalue", lambda f=file: f)())
                / (image.shape[0] * image.shape[1])
                for image, file in zip(images, files, strict=True)
            ]
        )
    )


def load(data, size, number, labelled):
    """Images of a folder, center-cropped, and labels of its subfolders."""
    paths = list_images(data)
    paths = paths[:: -(-len(paths) // number)]
    images = []
    for path in paths:
        image = load_image(path)
        if size:
            top, left = ((side - size) // 2 for side in image.shape[:2])
            image = image[top : top + size, left : left + size]
        images.append(image)
    labels = None
    if labelled:
        names = class_names(data)
        labels = [names.index(pathlib.Path(path).parent.name) for path in paths]
    return images, labels


def model_point(model, images, name, **options):
    files = list(model.iterate_compress(images, num_workers=None, **options))
    decoded = list(model.iterate_decompress(files, num_workers=None))
    sizes = list(map(len, files))
    return {
        "name": name,
        "bits_per_pixel": mean_bits(images, files),
        "psnr": mean_psnr(images, decoded),
        "photo_by_photo": {
            codec: photo_by_photo(images, decoded, sizes, codec)
            for codec in CODECS
        },
    }


def photo_by_photo(images, decoded, sizes, codec):
    """The codec's mean PSNR in no more bytes, where its files fit at all."""
    pairs = [
        (image, best, ours)
        for image, ours, size in zip(images, decoded, sizes, strict=True)
        if (best := best_within(image, codec, size)) is not None
    ]
    if not pairs:
        return {"fit": 0}
    theirs = [(image, best) for image, best, _ in pairs]
    ours = [(image, decoded) for image, _, decoded in pairs]
    return {
        "fit": len(pairs),
        "psnr": mean_psnr(*zip(*theirs, strict=True)),
        "psnr_of_model": mean_psnr(*zip(*ours, strict=True)),
    }


def at_bits(line, bits):
    """PSNR of a codec's line at some bits per pixel; NaN beyond its ends."""
    xs = np.log([row["bits_per_pixel"] for row in line])
    ys = [row["psnr"] for row in line]
    return float(np.interp(np.log(bits), xs, ys, left=np.nan, right=np.nan))


def measure(name, data, size, number, methods, rate_weights, search_steps):
    """Metrics of a model and of codecs on at most `number` images."""
    model = keras_vqvae2.from_pretrained(name)
    priors = size and set(model.priors) == set(model.vqvae.level_names)
    images, labels = load(data, size, number, priors)
    points = [
        model_point(model, images, method, method=method)
        for method in methods
        if method in model.code_model().methods
    ]
    points += [
        model_point(
            model, images, f"rate weight {weight:g}", rate_weight=weight
        )
        for weight in rate_weights
    ]
    points += [
        model_point(model, images, f"search, {steps}", search_steps=steps)
        for steps in search_steps
    ]
    result = {
        "model": name,
        "images": len(images),
        "size": size or "own",
        "points": points,
        "lines": {codec: codec_line(images, codec) for codec in CODECS},
    }
    if priors:
        codes = model.encode(np.stack(images))
        nll = negative_log_likelihood(model, codes, np.array(labels))
        result["prior_bits_per_pixel"] = nll["bits_per_pixel"]
    for point in points:
        point["curve"] = {
            codec: at_bits(line, point["bits_per_pixel"])
            for codec, line in result["lines"].items()
        }
    return result


def table(result):
    """Markdown: the model beside each codec at equal bytes."""
    lines = [
        "| code files | bits per pixel | PSNR | "
        + " | ".join(f"{c}: curve | {c}: photo by photo" for c in CODECS)
        + " |",
        "|---" * (3 + 2 * len(CODECS)) + "|",
    ]
    for point in result["points"]:
        cells = []
        for codec in CODECS:
            cells.append(f"{point['curve'][codec]:.2f}")
            photo = point["photo_by_photo"][codec]
            cell = f"{photo['psnr']:.2f}" if photo["fit"] else "none fits"
            if 0 < photo["fit"] < result["images"]:
                cell += (
                    f" ({photo['fit']} fit, ours {photo['psnr_of_model']:.2f})"
                )
            cells.append(cell)
        lines.append(
            f"| {point['name']} | {point['bits_per_pixel']:.3f} | "
            f"{point['psnr']:.2f} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines)


def draw(panel, metrics):
    for codec, line in metrics["lines"].items():
        panel.plot(
            [row["bits_per_pixel"] for row in line],
            [row["psnr"] for row in line],
            label=codec,
        )
    curve = [p for p in metrics["points"] if p["name"].startswith("rate")]
    search = [p for p in metrics["points"] if p["name"].startswith("search")]
    for point, marker in zip(metrics["points"], "osD", strict=False):
        if point in curve + search:
            break
        panel.plot(
            point["bits_per_pixel"],
            point["psnr"],
            marker,
            color="black",
            label=f"{metrics['model']}: {point['name']}",
        )
    for points, style, label in (
        (curve, ".-", "rate weight"),
        (search, "^", "search"),
    ):
        if points:
            panel.plot(
                [point["bits_per_pixel"] for point in points],
                [point["psnr"] for point in points],
                style,
                color="black",
                label=f"{metrics['model']}: {label}",
            )
    if "prior_bits_per_pixel" in metrics:
        panel.plot(
            metrics["prior_bits_per_pixel"],
            metrics["points"][0]["psnr"],
            "x",
            color="black",
            label="codes at the priors' length",
        )
    bits = [point["bits_per_pixel"] for point in metrics["points"]]
    quality = [point["psnr"] for point in metrics["points"]]
    panel.set_xscale("log", base=2)
    panel.set_xlim(min(bits) / 2, max(bits) * 2)
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.set_ylim(min(quality) - 4, max(quality) + 4)
    panel.set_title(f"{metrics['images']} images, size {metrics['size']}")
    panel.set_xlabel("bits per pixel, whole files")
    panel.set_ylabel("PSNR, dB")
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7, loc="upper left")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--data", action="append", required=True)
    parser.add_argument("--size", action="append", type=int)
    parser.add_argument(
        "--methods", nargs="*", choices=METHODS, default=METHODS
    )
    parser.add_argument("--rate-weights", type=float, nargs="*", default=())
    parser.add_argument("--search-steps", type=int, nargs="*", default=())
    parser.add_argument("--num-images", type=int, default=200)
    parser.add_argument("--output", required=True, help="file for the picture")
    parser.add_argument("--json", help="file for the metrics")
    args = parser.parse_args()
    args.size = args.size or [None] * len(args.model)
    if not len(args.model) == len(args.data) == len(args.size):
        parser.error("give --data and --size for each --model")

    results = [
        measure(
            *row,
            args.num_images,
            args.methods,
            args.rate_weights,
            args.search_steps,
        )
        for row in zip(args.model, args.data, args.size, strict=True)
    ]
    if args.json:
        with atomic_path(args.json) as temporary:
            temporary.write_text(json.dumps(results, indent=2) + "\n")
    figure = Figure(figsize=(6 * len(results), 4.5), layout="constrained")
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    for panel, result in zip(panels, results, strict=True):
        draw(panel, result)
        print(
            f"\n{result['model']}, {result['images']} images, {result['size']}"
        )
        if "prior_bits_per_pixel" in result:
            ideal = result["prior_bits_per_pixel"]
            print(f"at the priors' length: {ideal:.3f} bits per pixel")
        print(table(result))
    with atomic_path(args.output) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()

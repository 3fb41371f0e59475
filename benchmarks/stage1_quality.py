"""Reconstruction figures of a model on a folder of photographs.

    python benchmarks/stage1_quality.py --model vqvae2-imagenet256 \
        --data PHOTOS --size 256 [--json metrics.json] [--picture grid.png]

Centre crops; PSNR of the uint8 reconstruction, mean over images; MSE in units
of images scaled to [-1, 1]. JPEG and WebP are given the same number of bits
for each image: the highest quality whose file, headers included, is not
larger than the codes under a uniform prior.
"""

import argparse
import io
import json

import numpy as np
from PIL import Image

import keras_vqvae2
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.models.vqvae2 import psnr
from keras_vqvae2.pictures import figure3
from keras_vqvae2.pictures import save_image


def codec(image, image_format, max_bytes):
    """The best reconstruction by a codec in at most `max_bytes`."""
    low, high, best = 0, 100, None
    while low <= high:
        quality = (low + high) // 2
        file = io.BytesIO()
        options = {"quality": quality}
        if image_format == "JPEG":
            options |= {"optimize": True, "progressive": True}
        else:
            options |= {"method": 6}
        Image.fromarray(image).save(file, image_format, **options)
        if len(file.getvalue()) <= max_bytes:
            with Image.open(file) as decoded:
                best = np.asarray(decoded.convert("RGB"))
            low = quality + 1
        else:
            high = quality - 1
    return best


def usage(codes, num_embeddings):
    """Share of entries used, perplexity, entropy in bits."""
    counts = np.bincount(codes.ravel(), minlength=num_embeddings)
    shares = counts[counts > 0] / counts.sum()
    entropy = -(shares * np.log2(shares)).sum()
    return {
        "codes_used": float((counts > 0).mean()),
        "perplexity": float(2**entropy),
        "entropy_bits": float(entropy),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vqvae2-imagenet256")
    parser.add_argument("--data", required=True)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--json", help="file for the figures")
    parser.add_argument("--picture", help="file for reconstructions")
    args = parser.parse_args()

    model = keras_vqvae2.from_pretrained(args.model)
    dataset = image_folder_dataset(args.data, args.size, 8, training=False)
    images = np.concatenate([batch.numpy() for batch in dataset])
    codes = model.encode(images)
    bits = model.bits_per_pixel(args.size, args.size)
    figures = {
        "images": len(images),
        "size": args.size,
        "bits_per_pixel": bits,
    }
    levels = range(1, model.vqvae.num_levels + 1)
    for name, level in zip(model.vqvae.level_names, levels, strict=True):
        decoded = model.decode(codes, levels=level)
        scores = psnr(images, decoded)
        error = (images.astype("float64") - decoded) / 127.5
        figures[f"levels={level}"] = {
            "psnr_mean": float(scores.mean()),
            "psnr_min": float(scores.min()),
            "psnr_max": float(scores.max()),
            "mse": float((error**2).mean()),
        }
        figures[name] = usage(codes[level - 1], model.vqvae.num_embeddings)
    for image_format in ("JPEG", "WEBP"):
        max_bytes = int(bits * args.size**2 / 8)
        fitting = [
            (image, decoded)
            for image in images
            if (decoded := codec(image, image_format, max_bytes)) is not None
        ]
        scores = psnr(*map(np.stack, zip(*fitting, strict=True)))
        figures[f"{image_format}_same_bits"] = {
            "psnr_mean": float(scores.mean()),
            "images_that_fit": len(fitting),
        }
    text = json.dumps(figures, indent=2)
    print(text)
    if args.json:
        with open(args.json, "w") as file:
            file.write(text + "\n")
    if args.picture:
        picked = images[:: max(1, len(images) // 6)][:6]
        save_image(args.picture, figure3(model, picked))


if __name__ == "__main__":
    main()

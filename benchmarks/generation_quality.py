"""Figures and pictures of a class-conditional model with priors.

    python benchmarks/generation_quality.py --model vqvae2-cifar10 \
        --data cifar10/train --test-data cifar10/test \
        --codes CODES --test-codes TEST_CODES --classifier classifier.keras \
        --output FOLDER

`CODES` and `TEST_CODES` are what `keras-vqvae2 extract-codes --labels` wrote
for both folders. Writes `metrics.json`; `samples.png`, ten images of each
class; `nearest.png`, a sample of each class (left) and the training images
closest to it in pixels; `reconstructions.png`.
"""

import argparse
import json
import pathlib

import keras
import numpy as np
from stage1_quality import usage

import keras_vqvae2
from keras_vqvae2.data import class_names
from keras_vqvae2.data import code_dataset
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.models.vqvae2 import psnr
from keras_vqvae2.pictures import figure3
from keras_vqvae2.pictures import save_image
from keras_vqvae2.pictures import tile

NUM_NEAREST = 7


def read_images(folder, size, names):
    batches = list(
        image_folder_dataset(folder, size, 500, training=False, labels=names)
    )
    images, labels = zip(*batches, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def nll(prior, codes, labels, level, batch_size=100):
    """Mean negative log-likelihood, nats per code."""
    dataset = code_dataset(
        list(codes.values())[: level + 1], labels, batch_size, training=False
    )
    prior.compile()
    return float(prior.evaluate(dataset, return_dict=True, verbose=0)["loss"])


def accuracy(classifier, images, labels):
    logits = classifier.predict(images, batch_size=500, verbose=0)
    hits = logits.argmax(axis=-1) == labels
    by_class = [
        float(hits[labels == i].mean()) for i in range(labels.max() + 1)
    ]
    return float(hits.mean()), by_class


def nearest(image, images, number):
    """The `number` of `images` with the least squared distance."""
    difference = images.astype("float32") - image.astype("float32")
    distance = np.einsum("nhwc,nhwc->n", difference, difference)
    order = np.argsort(distance)[:number]
    return images[order], np.sqrt(distance[order] / image.size)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="vqvae2-cifar10")
    parser.add_argument("--data", required=True)
    parser.add_argument("--test-data", required=True)
    parser.add_argument("--codes", required=True)
    parser.add_argument("--test-codes", required=True)
    parser.add_argument("--classifier", required=True)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--per-class", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--guidance-scale", type=float, nargs="+", default=[1])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)

    model = keras_vqvae2.from_pretrained(args.model)
    names = class_names(args.data)
    images, _ = read_images(args.data, args.size, names)
    test_images, test_labels = read_images(args.test_data, args.size, names)
    figures = {"classes": names}

    decoded = model.reconstruct(test_images, batch_size=100)
    scores = psnr(test_images, decoded)
    figures["reconstruction"] = {
        "test_images": len(test_images),
        "psnr_mean": float(scores.mean()),
        "psnr_min": float(scores.min()),
        "psnr_top_alone": float(
            psnr(
                test_images,
                model.reconstruct(test_images, levels=1, batch_size=100),
            ).mean()
        ),
        "bits_per_pixel": model.bits_per_pixel(args.size, args.size),
    }
    picked = test_images[:: len(test_images) // 10][:10]
    save_image(args.output / "reconstructions.png", figure3(model, picked))

    codes, labels, _ = read_code_shards(args.codes)
    test_codes, test_code_labels, _ = read_code_shards(args.test_codes)
    # As many training images as test images: an estimate that costs less.
    some = np.linspace(0, len(labels) - 1, len(test_code_labels)).astype(int)
    num_embeddings = model.vqvae.num_embeddings
    for level, name in enumerate(model.vqvae.level_names):
        prior = model.load_prior(name)
        train = {key: value[some] for key, value in codes.items()}
        figures[name] = {
            "parameters": prior.count_params(),
            "uniform": float(np.log(num_embeddings)),
            "histogram_entropy": float(
                np.log(usage(codes[name], num_embeddings)["perplexity"])
            ),
            "nll_train": nll(prior, train, labels[some], level),
            "nll_test": nll(prior, test_codes, test_code_labels, level),
        }

    classifier = keras.models.load_model(args.classifier)
    figures["classifier_on_test_images"] = accuracy(
        classifier, test_images, test_labels
    )[0]
    figures["classifier_on_reconstructions"] = accuracy(
        classifier, decoded, test_labels
    )[0]
    wanted = np.arange(args.per_class * len(names)) % len(names)
    for scale in args.guidance_scale:
        samples = model.generate(
            labels=wanted,
            temperature=args.temperature,
            top_p=args.top_p,
            guidance_scale=scale,
            seed=args.seed,
            batch_size=100,
        )
        total, by_class = accuracy(classifier, samples, wanted)
        figures[f"samples, guidance {scale:g}"] = {
            "images": len(samples),
            "temperature": args.temperature,
            "top_p": args.top_p,
            "assigned_to_their_class": total,
            "by_class": dict(zip(names, by_class, strict=True)),
        }
        print(scale, total, flush=True)
        rows = [samples[wanted == i][:10] for i in range(len(names))]
        save_image(args.output / f"samples_{scale:g}.png", tile(rows))

    rows = []
    figures["nearest_training_image_rmse"] = []
    for i in range(len(names)):
        sample = samples[wanted == i][0]
        found, distance = nearest(sample, images, NUM_NEAREST)
        rows.append([sample, *found])
        figures["nearest_training_image_rmse"].append(float(distance[0]))
    save_image(args.output / "nearest.png", tile(rows))

    text = json.dumps(figures, indent=2)
    print(text)
    (args.output / "metrics.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

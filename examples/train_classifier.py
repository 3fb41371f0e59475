"""Trains a small classifier of CIFAR-10, or of any small images in classes.

    python examples/train_classifier.py --data cifar10/train \
        --test-data cifar10/test --output classifier.keras

Both folders hold one folder of 32x32 images per class. The network is the
critic of the priors' samples (`keras-vqvae2 generate --classifier`), and gives
`keras-vqvae2 evaluate` classes and features without a download.
"""

import argparse
import pathlib

import keras

from keras_vqvae2.data import class_names
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.evaluation import fit_classifier
from keras_vqvae2.evaluation import make_classifier


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of classes")
    parser.add_argument("--test-data", required=True, help="the same, to test")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1800)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    args = parser.parse_args()
    if args.output.suffix != ".keras":
        parser.error(f"--output must end in .keras. Received: {args.output}")

    names = class_names(args.data)
    train = image_folder_dataset(
        args.data, args.image_size, args.batch_size, labels=names
    )
    test = image_folder_dataset(
        args.test_data,
        args.image_size,
        args.batch_size,
        labels=names,
        training=False,
    )
    keras.utils.set_random_seed(0)
    model = make_classifier(len(names), dtype=args.dtype)
    fit_classifier(
        model,
        train,
        args.steps,
        learning_rate=args.learning_rate,
        test=test,
        epochs=6,
        verbose=2,
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(args.output)
    accuracy = model.history.history["val_accuracy"][-1]
    print(f"{args.output}: {100 * accuracy:.2f}% of the test images")


if __name__ == "__main__":
    main()

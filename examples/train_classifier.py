"""Trains a small classifier of CIFAR-10, or of any small images in classes.

    python examples/train_classifier.py --data cifar10/train \
        --test-data cifar10/test --output classifier.keras

Both folders hold one folder of 32x32 images per class. The network is the
critic of the priors' samples: which class would it give them?
"""

import argparse
import pathlib

import keras
import tensorflow as tf

from keras_vqvae2.data import class_names
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.training import Muon
from keras_vqvae2.training import WarmupStableDecay


def make_classifier(num_classes, widths=(64, 128, 128)):
    """Uint8 or float images (N, H, W, 3), 0..255, to logits (N, classes)."""
    layers = keras.layers
    x = images = keras.Input((None, None, 3), name="images")
    x = layers.Rescaling(1 / 64, offset=-2)(x)
    x = layers.Conv2D(24, 2, activation="gelu")(x)
    for width in widths:
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D(2)(x)
        x = layers.BatchNormalization(momentum=0.9)(x)
        x = layers.Activation("gelu")(x)
        y = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        y = layers.BatchNormalization(momentum=0.9)(y)
        x = x + layers.Activation("gelu")(y)
    x = layers.GlobalMaxPooling2D(name="features")(x)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="classifier")


def shift(images, labels):
    """Moves a batch by up to two pixels each way, mirroring the border."""
    padding = [[0, 0], [2, 2], [2, 2], [0, 0]]
    padded = tf.pad(images, padding, "REFLECT")
    return tf.image.random_crop(padded, tf.shape(images)), labels


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
    keras.config.set_dtype_policy(args.dtype)
    model = make_classifier(len(names))
    model.compile(
        Muon(
            WarmupStableDecay(
                args.learning_rate,
                args.steps,
                warmup_steps=args.steps // 10,
                decay_steps=args.steps * 9 // 10,
            ),
            weight_decay=0.05,
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=0.1
        ),
        metrics=["accuracy"],
    )

    def one_hot(images, labels):
        return images, tf.one_hot(labels, len(names))

    epochs = 6
    model.fit(
        train.map(shift).map(one_hot).prefetch(2),
        steps_per_epoch=args.steps // epochs,
        epochs=epochs,
        validation_data=test.map(one_hot),
        shuffle=False,  # the data set shuffles
        verbose=2,
    )
    args.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(args.output)
    _, accuracy = model.evaluate(test.map(one_hot), verbose=0)
    print(f"{args.output}: {100 * accuracy:.2f}% of the test images")


if __name__ == "__main__":
    main()

"""A small image classifier: critic, features and CAS without a download."""

import pathlib

import keras
import numpy as np
from keras.src.saving.serialization_lib import SafeModeScope

from keras_vqvae2.evaluation._checks import check_images
from keras_vqvae2.hub import weights_folder
from keras_vqvae2.sampling.rejection import class_probabilities
from keras_vqvae2.training import Muon
from keras_vqvae2.training import WarmupStableDecay

BUNDLED = "cifar10-classifier"

# Three halvings must leave a pixel.
_LEAST_SIZE = 9


def make_classifier(num_classes, widths=(64, 128, 128), dtype=None):
    """An untrained network for small images, 32x32 or so.

    Args:
        num_classes: Number of classes.
        widths: Channels of each block, which halves height and width.
        dtype: Dtype policy, or None for Keras's global one.

    Returns:
        `keras.Model` from images `(batch, height, width, 3)`, pixel values
        0..255, to float32 logits `(batch, num_classes)`. The layer `features`
        gives `(batch, widths[-1])`.
    """

    def convolution(width):
        return keras.layers.Conv2D(
            width, 3, padding="same", use_bias=False, dtype=dtype
        )

    def norm():
        return keras.layers.BatchNormalization(momentum=0.9, dtype=dtype)

    x = images = keras.Input((None, None, 3), name="images")
    x = keras.layers.Rescaling(1 / 64, offset=-2, dtype=dtype)(x)
    x = keras.layers.Conv2D(24, 2, activation="gelu", dtype=dtype)(x)
    for width in widths:
        x = convolution(width)(x)
        x = keras.layers.MaxPooling2D(2, dtype=dtype)(x)
        x = keras.layers.Activation("gelu", dtype=dtype)(norm()(x))
        y = norm()(convolution(width)(x))
        y = keras.layers.Activation("gelu", dtype=dtype)(y)
        x = keras.layers.Add(dtype=dtype)([x, y])
    x = keras.layers.GlobalMaxPooling2D(dtype=dtype, name="features")(x)
    logits = keras.layers.Dense(num_classes, dtype="float32", name="logits")(x)
    return keras.Model(images, logits, name="classifier")


def fit_classifier(
    model,
    train,
    steps,
    *,
    learning_rate=2e-3,
    test=None,
    epochs=1,
    verbose=0,
):
    """Trains a classifier: Muon, label smoothing, shifts by two pixels.

    Args:
        model: `keras.Model` from images to logits.
        train: Endless `tf.data.Dataset` of pairs of uint8 images `(batch,
            height, width, 3)` and integer labels `(batch,)`.
        steps: Training steps.
        learning_rate: Peak learning rate.
        test: Finite dataset of such pairs, to watch the training, or None.
        epochs: Parts of the training; `test` is looked at after each.
        verbose: As for `fit`.

    Returns:
        What `fit` returns.
    """
    import tensorflow as tf

    num_classes = model.output_shape[-1]

    def shift(images, labels):
        padding = [[0, 0], [2, 2], [2, 2], [0, 0]]
        padded = tf.pad(images, padding, "REFLECT")
        return tf.image.random_crop(padded, tf.shape(images), seed=1), labels

    def one_hot(images, labels):
        return images, tf.one_hot(labels, num_classes)

    model.compile(
        Muon(
            WarmupStableDecay(
                learning_rate,
                steps,
                warmup_steps=steps // 10,
                decay_steps=steps * 9 // 10,
            ),
            weight_decay=0.05,
        ),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=0.1
        ),
        metrics=["accuracy"],
    )
    return model.fit(
        train.map(shift).map(one_hot).prefetch(2),
        steps_per_epoch=-(-steps // epochs),
        epochs=epochs,
        validation_data=None if test is None else test.map(one_hot),
        shuffle=False,  # the data set shuffles
        verbose=verbose,
    )


def load_classifier(path, num_classes=None):
    """Loads a classifier that `model.save` wrote.

    With Keras's `safe_mode`, which refuses to run Python code from the file,
    also after `keras.config.enable_unsafe_deserialization()`; without its
    optimizer and without custom objects: layers of Keras only. Load files of
    your own all the same.

    Args:
        path: Path of a `.keras` file, or `"cifar10-classifier"`: that one
            comes with the package, for the ten classes of CIFAR-10 in the
            order of their names.
        num_classes: Number of classes that there must be, or None.

    Returns:
        `keras.Model`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no `.keras` file, cannot be loaded so, or has
            another number of classes.
    """
    bundled = weights_folder()
    if path == BUNDLED and bundled is not None:
        path = bundled / BUNDLED / "classifier.keras"
    path = pathlib.Path(path)
    if path.suffix != ".keras":
        raise ValueError(
            f"A classifier must be a .keras file, or {BUNDLED!r}. Received: "
            f"{path}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no classifier {path}.")
    try:
        # The scope counts after `enable_unsafe_deserialization`, too.
        with SafeModeScope(True):
            model = keras.models.load_model(path, compile=False)
    # Keras has no common error for what a file can hold.
    except Exception as error:
        raise ValueError(
            f"{path} could not be loaded as a Keras model of Keras's own "
            f"layers: {error}"
        ) from error
    shape = model.output_shape
    if not isinstance(shape, tuple) or len(shape) != 2:
        raise ValueError(
            "A classifier must give one number for each class, shape (batch, "
            f"num_classes). The output of {path} has the shape {shape}."
        )
    if num_classes not in (None, shape[-1]):
        raise ValueError(
            f"{path} is a classifier of {shape[-1]} classes, but there are "
            f"{num_classes}: was it trained on the classes of this model?"
        )
    return model


def top_k_accuracy(probabilities, labels, k=1):
    """Share of images whose label is among the k likeliest classes.

    Args:
        probabilities: Array `(images, num_classes)`.
        labels: Integer array `(images,)`.
        k: Number of classes.

    Returns:
        A float in [0, 1].

    Raises:
        ValueError: If the shapes or a label do not fit.
    """
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            "There must be one label for each row of probabilities. Received "
            f"shapes {labels.shape} and {probabilities.shape}."
        )
    if not len(labels):
        raise ValueError("There are no images to take the accuracy of.")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(
            f"Labels must be in 0..{probabilities.shape[1] - 1}, the classes "
            f"of the classifier. Received: {labels.min()}..{labels.max()}"
        )
    mine = np.take_along_axis(probabilities, labels[:, None], axis=1)
    # Of equal probabilities the lower class comes first, as in argmax.
    classes = np.arange(probabilities.shape[1])
    before = (probabilities > mine) | (
        (probabilities == mine) & (classes < labels[:, None])
    )
    return float((before.sum(axis=1) < k).mean())


def classification_accuracy_score(
    images,
    labels,
    test_images,
    test_labels,
    *,
    num_classes=None,
    steps=1000,
    batch_size=128,
    seed=0,
    model=None,
):
    """CAS: accuracy on real images of a classifier trained on these images.

    Compare it with the scores of as many real images and of reconstructions,
    at the same number of steps, to see what samples and codes lack. The paper
    trains a ResNet-50; the default here is the network of `make_classifier`.

    Args:
        images: uint8 array `(images, height, width, 3)`: samples.
        labels: Integer array `(images,)`: their classes.
        test_images: Real images of the same shape, that nothing was trained
            on.
        test_labels: Their classes.
        num_classes: Number of classes, or None for what the labels have.
        steps: Training steps.
        batch_size: Images in a batch.
        seed: Seeds weights, order, shifts and flips.
        model: Untrained `keras.Model` from images to logits, or None.

    Returns:
        Dict: `top_1` and, with more than five classes, `top_5` accuracy on
        the test images; `images`, `steps`, `batch_size`.

    Raises:
        ValueError: If there are fewer than two images, shapes differ, or a
            label is out of range.

    Source: Ravuri and Vinyals, "Classification accuracy score for conditional
    generative models", https://arxiv.org/abs/1905.10887.
    """
    images, test_images = np.asarray(images), np.asarray(test_images)
    labels, test_labels = np.asarray(labels), np.asarray(test_labels)
    check_images(images, labels, minimum=2)
    check_images(test_images, test_labels, minimum=2)
    if images.shape[1:] != test_images.shape[1:]:
        raise ValueError(
            "Images and test images must have one size. Received "
            f"{images.shape[1:]} and {test_images.shape[1:]}."
        )
    if num_classes is None:
        num_classes = int(max(labels.max(), test_labels.max())) + 1
    if min(labels.min(), test_labels.min()) < 0 or num_classes <= max(
        labels.max(), test_labels.max()
    ):
        raise ValueError(f"Labels must be in 0..{num_classes - 1}.")
    if model is None and min(images.shape[1:3]) < _LEAST_SIZE:
        raise ValueError(
            f"The classifier is for images of at least {_LEAST_SIZE}x"
            f"{_LEAST_SIZE}: pass a `model`. Received: {images.shape}"
        )
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    model = model or make_classifier(num_classes)

    def flip(image, label):
        return tf.image.random_flip_left_right(image, seed=2), label

    train = (
        tf.data.Dataset.from_tensor_slices((images, labels.astype("int32")))
        .shuffle(len(images), seed=seed)
        .repeat()
        .map(flip)
        .batch(batch_size)
    )
    fit_classifier(model, train, steps)
    probabilities = class_probabilities(model, test_images, num_classes)
    result = {"top_1": top_k_accuracy(probabilities, test_labels)}
    if num_classes > 5:
        result["top_5"] = top_k_accuracy(probabilities, test_labels, 5)
    return {
        **result,
        "images": len(images),
        "steps": steps,
        "batch_size": batch_size,
    }

"""Rejection sampling by a classifier: fewer, clearer images (section 3.3)."""

import math
import reprlib

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.sampling.generate import MAX_IMAGES
from keras_vqvae2.sampling.generate import check_labels
from keras_vqvae2.sampling.generate import count_images

# Candidate j of image k has the id k + j * 2**32, so that candidate 0 is the
# image that comes without rejection.
_CANDIDATE = 2**32


def class_probabilities(classifier, images, num_classes=None, batch_size=100):
    """Class probabilities that a classifier gives to images.

    Args:
        classifier: Keras model from images `(batch, height, width, channels)`,
            pixel values 0..255, to logits or probabilities `(batch,
            num_classes)`; see `probabilities_of`.
        images: uint8 array `(batch, height, width, channels)`.
        num_classes: Number of classes that there must be, or None.
        batch_size: Images at a time.

    Returns:
        float64 array `(batch, num_classes)`.

    Raises:
        TypeError: If the classifier is no Keras model.
        ValueError: If the classifier does not take images of this size, its
            output has another shape, or a number in it is not finite.
    """
    if not hasattr(classifier, "predict_on_batch"):
        raise TypeError(
            "A classifier must be a Keras model, such as "
            "`evaluation.load_classifier` loads. Received: "
            f"{reprlib.repr(classifier)}"
        )
    try:
        scores = np.concatenate(
            [
                np.asarray(
                    classifier.predict_on_batch(images[i : i + batch_size]),
                    "float64",
                )
                for i in range(0, len(images), batch_size)
            ]
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The classifier does not take images of shape {images.shape[1:]}: "
            f"{error}"
        ) from error
    expected = (len(images), num_classes or scores.shape[-1])
    if scores.shape != expected:
        raise ValueError(
            "The classifier must give one number for each of "
            f"{num_classes or 'its'} classes, shape {expected}. Received "
            f"shape {scores.shape}: was it trained on the classes of this "
            "model?"
        )
    return probabilities_of(scores)


def probabilities_of(scores):
    """Probabilities of a classifier's output, be it logits or these already.

    Args:
        scores: Array `(images, num_classes)`. Rows without a negative number
            that sum to 1 are taken for probabilities, others for logits.

    Returns:
        float64 array of the same shape.

    Raises:
        ValueError: If a number is not finite.
    """
    scores = np.asarray(scores, "float64")
    if not np.isfinite(scores).all():
        raise ValueError(
            "The classifier gives numbers that are not finite (NaN or "
            "infinity)."
        )
    if not (
        (scores >= 0).all() and np.allclose(scores.sum(axis=-1), 1, atol=1e-3)
    ):
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def generate_candidates(
    model, classifier, num_candidates, num_images=None, labels=None, **options
):
    """Several candidates for each image, and how well each fits its label.

    Args:
        model: `VQVAE2` with class-conditional priors.
        classifier: As for `class_probabilities`.
        num_candidates: Candidates for each image.
        num_images: As for `VQVAE2.generate`.
        labels: As for `VQVAE2.generate`.
        **options: Other arguments of `VQVAE2.generate_codes`.

    Yields:
        For each image, in turn, a pair of the uint8 array `(num_candidates,
        height, width, channels)` of its candidates and the float64 array
        `(num_candidates,)` of the probabilities that the classifier gives to
        its label. Candidate
        j of image k depends on the seed, j, k and the label alone; candidate
        0 is the image that `VQVAE2.generate` makes.

    Raises:
        ValueError: As `VQVAE2.generate`, or if the classifier does not fit.
    """
    check_integer("num_candidates", num_candidates)
    if labels is None:
        raise ValueError(
            "Rejection sampling needs `labels`: the classifier judges how "
            "well an image fits its class."
        )
    labels = check_labels(labels)
    given = [np.asarray(level) for level in options.pop("codes", ())]
    count = count_images(num_images, labels, given)
    check_integer("num_candidates", num_candidates, maximum=MAX_IMAGES // count)
    names = model.vqvae.level_names
    if len(given) >= len(names):
        raise ValueError(
            f"All {len(names)} levels are in `codes`: there is nothing to draw."
        )
    prior = model.load_prior(names[len(given)])
    if prior.num_classes is None:
        raise ValueError(
            "Rejection sampling needs a class-conditional prior. This model "
            "has no classes."
        )
    if (labels >= prior.num_classes).any():
        raise ValueError(
            f"Labels must be in 0..{prior.num_classes - 1} for rejection "
            f"sampling. Received: {labels.max()}"
        )
    # A classifier that does not fit is an error now, not after the sampling.
    stride = math.prod(model.vqvae.strides[: len(names) - len(given)])
    size = [length * stride for length in prior.code_shapes[-1]]
    class_probabilities(
        classifier,
        np.zeros((1, *size, model.vqvae.num_channels), "uint8"),
        prior.num_classes,
    )
    images = np.repeat(np.arange(len(labels)), num_candidates)
    candidates = np.tile(np.arange(num_candidates), len(labels))
    codes = model.generate_codes(
        labels=labels[images],
        codes=[level[images] for level in given],
        image_ids=images + candidates * _CANDIDATE,
        **options,
    )
    # After Ctrl-C, the images whose candidates are all there.
    whole = len(codes[0]) // num_candidates
    if not whole:
        raise KeyboardInterrupt
    batch_size = options.get("batch_size", 16)
    step = max(1, batch_size // num_candidates)
    for start in range(0, whole, step):
        stop = min(start + step, whole)
        batch = slice(start * num_candidates, stop * num_candidates)
        decoded = model.decode(
            [level[batch] for level in codes], batch_size=batch_size
        )
        scores = class_probabilities(classifier, decoded, prior.num_classes)
        for i, label in enumerate(labels[start:stop]):
            mine = slice(i * num_candidates, (i + 1) * num_candidates)
            yield decoded[mine], scores[mine, label]


def generate_best(
    model, classifier, num_candidates, num_images=None, labels=None, **options
):
    """The best of several candidates for each image.

    The paper ranks all samples of a class and keeps the best share 1/n. Here
    each image is the best of n = `num_candidates` of its own, so that image k
    still depends on the seed, k and its label alone, whatever the number of
    images. The price is a slightly weaker choice: the kept one is at quantile
    u or below with probability u**n, instead of never being below 1 - 1/n.

    Args:
        model: As for `generate_candidates`.
        classifier: As for `generate_candidates`.
        num_candidates: As for `generate_candidates`.
        num_images: As for `VQVAE2.generate`.
        labels: As for `VQVAE2.generate`.
        **options: As for `generate_candidates`.

    Returns:
        uint8 array `(num_images, height, width, channels)`.

    Raises:
        ValueError: As `generate_candidates`.

    Source: section 3.3 of VQ-VAE-2, arXiv 1906.00446.
    """
    return np.stack(
        [
            candidates[scores.argmax()]
            for candidates, scores in generate_candidates(
                model, classifier, num_candidates, num_images, labels, **options
            )
        ]
    )

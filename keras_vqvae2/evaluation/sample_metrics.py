import numpy as np

from keras_vqvae2.evaluation.classifier import top_k_accuracy
from keras_vqvae2.evaluation.frechet_distance import FeatureStatistics
from keras_vqvae2.evaluation.frechet_distance import frechet_distance
from keras_vqvae2.evaluation.inception_score import inception_score
from keras_vqvae2.evaluation.precision_recall import precision_recall
from keras_vqvae2.sampling.rejection import class_probabilities


def sample_metrics(samples, labels, reference, features, classifier, names):
    """Metrics of generated images.

    Args:
        samples: uint8 array `(images, height, width, channels)`.
        labels: Requested class of each sample, or None.
        reference: `ImageSet` that they are compared with.
        features: `FeatureExtractor`, or None.
        classifier: Keras model, or None.
        names: Names of the classes, or None.

    Returns:
        Dict, one row of `metrics.json`.
    """
    row = {"images": len(samples)}
    if features is not None:
        vectors, probabilities = features(samples)
        statistics = FeatureStatistics(vectors)
        row["fid"] = frechet_distance(reference.statistics, statistics)
        row["fid_star"] = frechet_distance(
            reference.reconstruction_statistics, statistics
        )
        row["reference_images"] = reference.statistics.count
        # Of equal numbers, as in the paper: both depend on the numbers.
        number = min(len(vectors), len(reference.features))
        if number > 3:
            row["precision"], row["recall"] = precision_recall(
                reference.features[spread(len(reference.features), number)],
                vectors[spread(len(vectors), number)],
            )
        if probabilities is not None:
            splits = 10 if len(samples) >= 1000 else 1
            row["inception_score"], row["inception_score_std"] = (
                inception_score(probabilities, splits)
            )
            row["inception_score_splits"] = splits
    if classifier is not None and labels is not None:
        probabilities = class_probabilities(classifier, samples)
        row |= accuracies(probabilities, labels)
        row["by_class"] = {
            names[label] if names else str(label): top_k_accuracy(
                probabilities[labels == label], labels[labels == label]
            )
            for label in np.unique(labels)
        }
    return row


def accuracies(probabilities, labels):
    """Dict of `top_1` and, with more than five classes, `top_5`."""
    result = {"top_1": top_k_accuracy(probabilities, labels)}
    if probabilities.shape[1] > 5:
        result["top_5"] = top_k_accuracy(probabilities, labels, 5)
    return result


def spread(size, number):
    """`number` indices, evenly spaced in `range(size)`."""
    return np.linspace(0, size - 1, number).round().astype(int)

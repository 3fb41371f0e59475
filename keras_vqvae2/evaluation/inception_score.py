import numpy as np

from keras_vqvae2.evaluation._checks import check_features


def inception_score(probabilities, splits=10, seed=0):
    """Inception Score: how sure a classifier is, and of how many classes.

    `exp(mean KL(p(y | x) || p(y)))`, from 1 to the number of classes. Published
    scores are of the Inception network; any classifier gives its own.

    Args:
        probabilities: Array `(images, num_classes)` of class probabilities.
        splits: Parts of the images, each of which gives a score.
        seed: Seeds the order in which images are dealt to the parts; None
            takes them as they come.

    Returns:
        Tuple of the mean of the parts' scores and their standard deviation.

    Raises:
        ValueError: If there are fewer images than two a part, or these are no
            probabilities.

    Example:

    ```python
    sure = np.eye(5)[np.arange(100) % 5]
    score, _ = keras_vqvae2.evaluation.inception_score(sure, splits=1)
    assert np.isclose(score, 5)
    ```

    Source: Salimans et al., "Improved techniques for training GANs", section
    4, https://arxiv.org/abs/1606.03498.
    """
    probabilities = np.asarray(check_features(probabilities, 2), "float64")
    if splits < 1 or len(probabilities) < 2 * splits:
        raise ValueError(
            f"{len(probabilities)} images are too few for {splits} splits of "
            "at least two."
        )
    if (probabilities < 0).any() or not np.allclose(
        probabilities.sum(axis=1), 1, atol=1e-3
    ):
        raise ValueError(
            "Each row must be probabilities, which sum to 1: apply a softmax "
            "to logits."
        )
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(probabilities))
        probabilities = probabilities[order]
    scores = []
    for part in np.array_split(probabilities, splits):
        divergence = _x_log_x(part).sum(axis=1).mean()
        divergence -= _x_log_x(part.mean(axis=0)).sum()
        scores.append(np.exp(divergence))
    return float(np.mean(scores)), float(np.std(scores))


def _x_log_x(x):
    return x * np.log(np.where(x > 0, x, 1))

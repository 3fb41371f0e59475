import warnings

import numpy as np

from keras_vqvae2.evaluation._checks import check_features


class FeatureStatistics:
    """Mean and covariance of feature vectors, batch by batch.

    All in float64, with the memory of one covariance, however many vectors
    come: 50 000 of 2048 dimensions take 34 MB. Batches are merged by their
    means, so that nothing cancels when features lie far from zero.

    Args:
        features: First array for `update`, or None.

    Raises:
        ValueError: As `update`.

    Example:

    ```python
    statistics = keras_vqvae2.evaluation.FeatureStatistics()
    for _ in range(3):
        statistics.update(np.random.normal(size=(100, 4)))
    assert statistics.count == 300
    assert statistics.covariance.shape == (4, 4)
    ```

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise
    algorithm for computing sample variances", 1982, equation 2.1.
    """

    def __init__(self, features=None):
        self.count = 0
        self.mean = None
        self._scatter = None
        if features is not None:
            self.update(features)

    def update(self, features):
        """Adds feature vectors.

        Args:
            features: Array `(batch, dim)`.

        Returns:
            These statistics.

        Raises:
            ValueError: If the shape does not fit, or a number is not finite.
        """
        features = np.asarray(check_features(features), "float64")
        if self.mean is None:
            self.mean = np.zeros(features.shape[1])
            self._scatter = np.zeros((features.shape[1],) * 2)
        if features.shape[1:] != self.mean.shape:
            raise ValueError(
                f"These statistics are of {len(self.mean)} features. Received "
                f"vectors of {features.shape[1]}."
            )
        number = len(features)
        total = self.count + number
        mean = features.mean(axis=0)
        centred = features - mean
        shift = mean - self.mean
        self._scatter += centred.T @ centred
        self._scatter += np.outer(shift, shift * (self.count * number / total))
        self.mean = self.mean + shift * (number / total)
        self.count = total
        return self

    @property
    def covariance(self):
        """Unbiased covariance, float64 `(dim, dim)`.

        Raises:
            ValueError: If there are fewer than two vectors.
        """
        if self.count < 2:
            raise ValueError(
                "A covariance needs at least two images. Received: "
                f"{self.count}"
            )
        return self._scatter / (self.count - 1)


def frechet_distance(real, generated):
    """Frechet distance of two Gaussians: FID, on Inception's features.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`. The trace of the root is
    the sum of the singular values of `L1^T L2`, with `Ci = Li Li^T`: real and
    accurate also where a covariance is singular. FID* of the VQ-VAE-2 paper
    is the distance of samples from reconstructions instead of originals.

    Args:
        real: `FeatureStatistics`.
        generated: `FeatureStatistics` of the same features.

    Returns:
        The squared distance, a float; with features of InceptionV3, FID.

    Warns:
        UserWarning: If there are no more vectors than features: then the
            covariance is singular and the distance much too great.

    Raises:
        ValueError: If the numbers of features differ, or there are fewer than
            two vectors.

    Source: Heusel et al., "GANs trained by a two time-scale update rule
    converge to a local Nash equilibrium", equation 6,
    https://arxiv.org/abs/1706.08500.
    """
    covariances = real.covariance, generated.covariance
    if real.mean.shape != generated.mean.shape:
        raise ValueError(
            "Both sets need the same features. Received vectors of "
            f"{len(real.mean)} and {len(generated.mean)} numbers."
        )
    fewest = min(real.count, generated.count)
    if fewest <= len(real.mean):
        warnings.warn(
            f"{fewest} images are too few for a Frechet distance of "
            f"{len(real.mean)} features: it will be much too great. Use more "
            "images, or fewer features.",
            stacklevel=2,
        )
    roots = [_factor(covariance) for covariance in covariances]
    product = roots[0].T @ roots[1]
    trace = np.linalg.svd(product, compute_uv=False).sum()
    distance = np.sum((real.mean - generated.mean) ** 2)
    return float(distance + sum(map(np.trace, covariances)) - 2 * trace)


def _factor(covariance):
    """Some `L` with `L L^T` the covariance."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # singular
        values, vectors = np.linalg.eigh(covariance)
        least = values[-1] * len(values) * np.finfo("float64").eps
        kept = values > max(least, 0)
        return vectors[:, kept] * np.sqrt(values[kept])

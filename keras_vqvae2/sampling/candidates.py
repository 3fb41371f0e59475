import numpy as np

from keras_vqvae2.sampling.draws import uniform_draws

# Each level has draws of its own, and these are no level's.
_CHOICES = 2**32


class Candidates:
    """Which candidates go on, where codes after the drawn ones are given.

    A prior draws a code from the codes before it. Given codes after it are
    taken into account by a particle filter: an image has several candidates,
    each with the probability that the prior gives to the given codes after
    what was drawn. As soon as half of the candidates (by their effective
    number) no longer count, likely ones are continued in place of unlikely
    ones. The last choice is by the probabilities again. With one candidate,
    codes follow the codes before them alone; with more and more, the
    distribution converges to the prior's, conditional on all given codes.

    Source: Gordon, Salmond and Smith, "Novel approach to nonlinear/non-Gaussian
    Bayesian state estimation", 1993; the effective number and when to resample:
    Liu and Chen, "Sequential Monte Carlo methods for dynamic systems", 1998.

    Args:
        seed: As for `uniform_draws`.
        images: Numbers of the images, as for `uniform_draws`.
        num_candidates: Candidates for each; those of an image follow each
            other in a batch.
        height: Rows of the code map.
        level: Number of the level.

    Example:

    ```python
    candidates = keras_vqvae2.sampling.Candidates(0, [0], 3, height=1)
    assert candidates(0, np.array([-50.0, 0.0, -50.0])).tolist() == [1, 1, 1]
    assert candidates.final()[0] in (0, 1, 2)
    ```
    """

    def __init__(self, seed, images, num_candidates, height, level=0):
        # One for each row, and one for the last choice.
        self._draws = uniform_draws(
            seed, images, (height + 1, 1), level=_CHOICES + level
        )[:, :, 0].astype("float64")
        self._log_weights = np.zeros((len(images), num_candidates))

    def __call__(self, row, log_probabilities):
        """Which candidates go on after a row.

        Args:
            row: Number of the row.
            log_probabilities: Float array `(images * num_candidates,)`, those
                of the row's given codes.

        Returns:
            int64 array `(images * num_candidates,)`, or None for all as they
            are.
        """
        images, number = self._log_weights.shape
        self._log_weights += np.reshape(log_probabilities, (images, number))
        weights = self._weights()
        few = (weights**2).sum(axis=1) * number > 2  # effective number < half
        if not few.any():
            return None
        chosen = np.tile(np.arange(number), (images, 1))
        for i in np.flatnonzero(few):
            steps = (np.arange(number) + self._draws[i, row]) / number
            chosen[i] = _inverse(weights[i], steps)
            self._log_weights[i] = 0
        return (chosen + np.arange(images)[:, None] * number).reshape(-1)

    def final(self):
        """The candidate of each image that is kept.

        Returns:
            int64 array `(images,)`, places in the batch.
        """
        images, number = self._log_weights.shape
        chosen = [
            _inverse(weights, draws[-1:])[0]
            for weights, draws in zip(self._weights(), self._draws, strict=True)
        ]
        return np.array(chosen) + np.arange(images) * number

    def _weights(self):
        highest = self._log_weights.max(axis=1, keepdims=True)
        weights = np.exp(self._log_weights - highest)
        return weights / weights.sum(axis=1, keepdims=True)


def _inverse(weights, draws):
    """Places of draws in [0, 1) in the cumulative sum of weights."""
    cumulative = np.cumsum(weights)
    return np.searchsorted(cumulative, draws * cumulative[-1], side="right")

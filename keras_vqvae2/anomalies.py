"""`surprise` of a model: how unlikely images are under its priors."""

import math

import numpy as np

from keras_vqvae2.editing import check_edited
from keras_vqvae2.editing import check_image_size
from keras_vqvae2.editing import check_label_count
from keras_vqvae2.sampling import LogProbabilities
from keras_vqvae2.surprise import Surprise


class SurpriseMixin:
    """Anomaly maps of a model.

    A class with it has the attribute `vqvae`, the method `encode`, and those
    of `GenerateMixin`.
    """

    def surprise(self, images, labels=None, *, batch_size=16):
        """Where images are unlikely under the priors, and how much.

        Likelihoods alone are fooled: a smooth image has few bits, whatever it
        shows, and a busy one many. The excess over what the priors expected
        is fooled less; an image far from the usual excess, on either side, is
        unusual. What the codebook cannot express has a high error of
        `reconstruct` instead. `docs/anomalies.md` has figures.

        Args:
            images: uint8 or float array `(batch, height, width, channels)`,
                pixel values 0..255, of the size that the priors are of.
            labels: Class of each image, integers `(batch,)` or names, for a
                model that has classes; None for no class.
            batch_size: Images at a time.

        Returns:
            `surprise.Surprise`: maps in bits per code, scores in bits per
            pixel.

        Raises:
            ValueError: If a prior is missing, or an argument does not fit.

        Source: the ranking by likelihood of arXiv 2012.06765.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-cifar10")
        noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3))
        noise[1] = 128
        surprise = model.surprise(noise.astype("uint8"))
        top, bottom = surprise.maps
        assert top.shape == bottom.shape == (2, 32, 32)
        assert surprise.scores[0] > surprise.scores[1]
        ```
        """
        images = check_edited(images, self.vqvae)
        labels = check_label_count(self.label_numbers(labels), images)
        names = self.vqvae.level_names
        for name in names:
            self._check_prior(name)
        prior = self.load_prior(names[0])
        check_image_size(self.vqvae, names[0], prior, images)
        codes = self.encode(images, batch_size=batch_size)
        height, width = images.shape[1:3]
        maps, excess_maps, bits, excess = [], [], 0.0, 0.0
        for level, name in enumerate(names):
            prior = prior if level == 0 else self.load_prior(name)
            parts = LogProbabilities(prior)(
                codes[: level + 1], labels, batch_size
            )
            given, entropies = map(np.concatenate, zip(*parts, strict=True))
            for nats, whole in (
                (-given, maps),
                (-given - entropies, excess_maps),
            ):
                level_bits = np.float32(nats / math.log(2))
                rows, columns = level_bits.shape[1:]
                whole.append(
                    level_bits.repeat(height // rows, axis=1).repeat(
                        width // columns, axis=2
                    )
                )
            bits = bits - given.sum(axis=(1, 2))
            excess = excess - (given + entropies).sum(axis=(1, 2))
        pixels = height * width * math.log(2)
        return Surprise(
            tuple(maps),
            tuple(excess_maps),
            np.float32(bits / pixels),
            np.float32(excess / pixels),
        )

import numpy as np

from keras_vqvae2.evaluation.frechet_distance import FeatureStatistics
from keras_vqvae2.evaluation.frechet_distance import frechet_distance
from keras_vqvae2.evaluation.reconstruction import ReconstructionMetrics
from keras_vqvae2.evaluation.sample_metrics import accuracies
from keras_vqvae2.evaluation.sample_metrics import spread
from keras_vqvae2.sampling.rejection import class_probabilities

_NUM_EXAMPLES = 6


class ImageSet:
    """Metrics, codes and features of a set of images, in one pass.

    Args:
        model: `VQVAE2`.
        dataset: `tf.data.Dataset` of images, or of pairs with labels.
        with_labels: Whether it has labels.
        features: `FeatureExtractor`, or None.
        classifier: Keras model, or None.
        batch_size: Images at a time.
        keep: Whether to keep images and reconstructions in memory.
        encoding: Dict of arguments of `VQVAE2.encode`, or None.

    Raises:
        ValueError: If there are fewer than two images.
    """

    def __init__(
        self,
        model,
        dataset,
        with_labels,
        features,
        classifier,
        batch_size,
        keep,
        encoding=None,
    ):
        reconstruction = ReconstructionMetrics(
            model, batch_size, **(encoding or {})
        )
        self._with_classes = classifier is not None
        self.statistics = FeatureStatistics()
        self.reconstruction_statistics = FeatureStatistics()
        parts = {}
        examples = []

        def add(name, values):
            parts.setdefault(name, []).append(values)

        for batch in dataset:
            images, labels = batch if with_labels else (batch, None)
            images = images.numpy()
            codes, decoded = reconstruction.update(images)
            for level, maps in enumerate(codes):
                add(level, maps)
            # Examples of all parts of the set, which is sorted by class.
            examples.append(images[:1])
            if labels is not None:
                add("labels", labels.numpy())
            if keep:
                add("images", images)
                add("reconstructions", decoded)
            if features is not None:
                vectors, _ = features(images)
                add("features", vectors)
                self.statistics.update(vectors)
                self.reconstruction_statistics.update(features(decoded)[0])
            if classifier is not None:
                add("classes", class_probabilities(classifier, images))
                add("decoded_classes", class_probabilities(classifier, decoded))
        if not parts:
            raise ValueError("There is no readable image to evaluate with.")
        parts = {name: np.concatenate(part) for name, part in parts.items()}
        self.codes = tuple(
            parts[level] for level in range(model.vqvae.num_levels)
        )
        if len(self.codes[0]) < 2:
            raise ValueError(
                "At least two images are needed. Received: "
                f"{len(self.codes[0])}"
            )
        self.labels = parts.get("labels")
        self.images = parts.get("images")
        self.reconstructions = parts.get("reconstructions")
        self.features = parts.get("features")
        self._classes = {
            "originals": parts.get("classes"),
            "reconstructions": parts.get("decoded_classes"),
        }
        some = spread(len(examples), min(_NUM_EXAMPLES, len(examples)))
        self.examples = np.concatenate([examples[i] for i in some])
        self._reconstruction = reconstruction

    def metrics(self):
        """Dict of the metrics of reconstructions and classifications."""
        metrics = {"reconstruction": self._reconstruction.result()}
        if self.features is not None:
            metrics["fid_of_reconstructions"] = frechet_distance(
                self.statistics, self.reconstruction_statistics
            )
        if self._with_classes:
            metrics["classifier"] = {
                name: accuracies(probabilities, self.labels)
                for name, probabilities in self._classes.items()
            }
        return metrics

import keras
import numpy as np

from keras_vqvae2.evaluation._checks import check_features
from keras_vqvae2.sampling.rejection import probabilities_of

_INCEPTION_SIZE = 299


class FeatureExtractor:
    """Feature vectors and class probabilities of images, by a Keras model.

    Args:
        model: `keras.Model` from images `(batch, height, width, channels)`,
            pixel values 0..255. Its output is the features; of two outputs
            the second is logits or probabilities of classes.
        layer: Name of the layer that gives the features instead; the output
            is then that of classes.
        name: Name for reports.
        batch_size: Images at a time.

    Call arguments:
        images: uint8 array `(images, height, width, channels)`.

    Returns:
        Tuple of the features, float32 `(images, dim)`, and the class
        probabilities, float64 `(images, num_classes)`, or None.

    Raises:
        ValueError: If there is no such layer, or what it gives is no finite
            array of vectors.

    Example:

    ```python
    classifier = keras_vqvae2.evaluation.make_classifier(10)
    extract = keras_vqvae2.evaluation.FeatureExtractor(classifier, "features")
    features, probabilities = extract(np.zeros((2, 32, 32, 3), "uint8"))
    assert features.shape == (2, 128) and probabilities.shape == (2, 10)
    ```
    """

    def __init__(self, model, layer=None, name=None, batch_size=100):
        self.name = name or model.name
        self.batch_size = batch_size
        self._model = model
        if layer is not None:
            names = [each.name for each in model.layers]
            if layer not in names:
                raise ValueError(
                    f"{model.name} has no layer {layer!r}. It has: "
                    f"{', '.join(names)}."
                )
            self._model = keras.Model(
                model.input, [model.get_layer(layer).output, model.output]
            )

    @classmethod
    def from_classifier(cls, classifier, name=None):
        """Of a classifier: the layer `features`, or what its last one gets.

        Args:
            classifier: `keras.Model` from images to logits or probabilities.
            name: Name for reports.
        """
        names = [each.name for each in classifier.layers]
        if "features" in names:
            return cls(classifier, "features", name)
        if len(names) < 2:
            raise ValueError(
                f"{classifier.name} has one layer only: no features."
            )
        return cls(classifier, names[-2], name)

    def __call__(self, images):
        images = np.asarray(images)
        parts = []
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            outputs = self._model.predict_on_batch(batch)
            parts.append(outputs if isinstance(outputs, list) else [outputs])
        features, *scores = map(np.concatenate, zip(*parts, strict=True))
        features = check_features(np.asarray(features, "float32"))
        if not scores:
            return features, None
        return features, probabilities_of(scores[0])


def inception_v3():
    """Features and classes of Keras's InceptionV3, trained on ImageNet.

    2048 features and 1000 classes of images resized to 299x299 with
    antialiasing. Published FIDs and scores use the weights and the resizing of
    the Inception network of 2015: compare values only with others of this
    function, or use `torch_fidelity_inception`.

    Returns:
        `FeatureExtractor`.

    Raises:
        ConnectionError: If the weights must be downloaded and cannot be.
    """
    try:
        network = keras.applications.InceptionV3()
    # Keras raises a bare Exception when a download fails.
    except Exception as error:
        raise ConnectionError(
            "The weights of InceptionV3 (96 MB) are downloaded on first use, "
            f"and that failed: {error}. Run `keras.applications.InceptionV3()` "
            "once with a network, which keeps them in ~/.keras/models, or take "
            "the features of a classifier of your own."
        ) from error
    images = keras.Input((None, None, 3))
    x = keras.layers.Resizing(_INCEPTION_SIZE, _INCEPTION_SIZE, antialias=True)(
        images
    )
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(x)
    features = keras.Model(
        network.input, [network.get_layer("avg_pool").output, network.output]
    )(x)
    return FeatureExtractor(
        keras.Model(images, features), name="keras.applications InceptionV3"
    )


def torch_fidelity_inception():
    """Features and logits of the 2015 Inception network of published FIDs.

    Through the library torch-fidelity, which must be installed, with its
    weights, which it downloads. They are read by PyTorch's `weights_only`
    loader first, which executes nothing.

    Returns:
        Function of uint8 images `(images, height, width, 3)`, as a
        `FeatureExtractor`: 2048 features and probabilities of 1008 classes.

    Raises:
        ImportError: If torch-fidelity is not installed.
        ConnectionError: If the weights must be downloaded and cannot be.
    """
    try:
        import torch
        from torch_fidelity import feature_extractor_inceptionv3 as inception
    except ImportError as error:
        raise ImportError(
            "The 2015 Inception network comes with torch-fidelity: `pip "
            "install torch-fidelity`."
        ) from error
    try:
        torch.hub.load_state_dict_from_url(
            inception.URL_INCEPTION_V3,
            progress=False,
            check_hash=True,
            weights_only=True,
        )
        network = inception.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048", "logits_unbiased"]
        )
    except (OSError, RuntimeError) as error:
        raise ConnectionError(
            "The weights of the 2015 Inception network (91 MB) are downloaded "
            f"from {inception.URL_INCEPTION_V3} on first use, and that failed: "
            f"{error}"
        ) from error
    return _TorchFidelityInception(network)


class _TorchFidelityInception:
    name = "Inception of 2015, by torch-fidelity"

    def __init__(self, network, batch_size=50):
        self.network = network
        self.batch_size = batch_size

    def __call__(self, images):
        import torch

        parts = []
        for start in range(0, len(images), self.batch_size):
            batch = np.moveaxis(images[start : start + self.batch_size], -1, 1)
            with torch.no_grad():
                outputs = self.network(
                    torch.from_numpy(np.ascontiguousarray(batch))
                )
            parts.append([x.numpy() for x in outputs])
        features, logits = map(np.concatenate, zip(*parts, strict=True))
        return check_features(features), probabilities_of(logits)

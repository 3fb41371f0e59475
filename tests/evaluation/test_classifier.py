import keras
import numpy as np
import pytest
from keras.src.backend.common.global_state import set_global_attribute
from keras.src.saving.serialization_lib import in_safe_mode

from keras_vqvae2.evaluation import classification_accuracy_score
from keras_vqvae2.evaluation import load_classifier
from keras_vqvae2.evaluation import make_classifier
from keras_vqvae2.evaluation import top_k_accuracy


@pytest.fixture
def classifier():
    return make_classifier(3, widths=(4,))


def test_network(classifier):
    assert classifier.output_shape == (None, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), "uint8")
    assert classifier.predict_on_batch(images).shape == (2, 3)
    assert classifier.get_layer("features").output.shape == (None, 4)


def test_dtype():
    model = make_classifier(3, widths=(4,), dtype="mixed_bfloat16")
    assert model.get_layer("features").compute_dtype == "bfloat16"
    assert model.get_layer("logits").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def test_top_k_accuracy():
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.4, 0.4, 0.2]])
    assert top_k_accuracy(p, [0, 1, 0]) == 1
    # A tie is the lower class's.
    assert top_k_accuracy(p, [1, 2, 1]) == 0
    assert top_k_accuracy(p, [1, 2, 1], 2) == 1
    assert top_k_accuracy(p, [2, 1, 0], 2) == 2 / 3
    with pytest.raises(ValueError, match=r"in 0\.\.2.*Received: 0\.\.3"):
        top_k_accuracy(p, [0, 1, 3])
    with pytest.raises(ValueError, match="one label for each row"):
        top_k_accuracy(p, [0, 1])
    with pytest.raises(ValueError, match="no images"):
        top_k_accuracy(p[:0], [])


def test_load(classifier, tmp_path):
    path = tmp_path / "classifier.keras"
    # The optimizer of the training is left behind.
    classifier.compile(keras.optimizers.SGD(), "mse")
    classifier.save(path)
    loaded = load_classifier(path, 3)
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), "uint8")
    np.testing.assert_array_equal(
        loaded.predict_on_batch(images), classifier.predict_on_batch(images)
    )
    assert not loaded.compiled
    with pytest.raises(ValueError, match="of 3 classes, but there are 10"):
        load_classifier(path, 10)
    with pytest.raises(FileNotFoundError, match="no classifier"):
        load_classifier(tmp_path / "other.keras")
    with pytest.raises(ValueError, match="must be a .keras file"):
        load_classifier(tmp_path / "classifier.h5")
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match="could not be loaded"):
        load_classifier(path)


@pytest.mark.parametrize("unsafe", [False, True])
def test_load_runs_no_code_of_the_file(tmp_path, unsafe):
    images = keras.Input((8, 8, 3))
    x = keras.layers.Lambda(lambda x: x[:, 0, 0])(images)
    path = tmp_path / "lambda.keras"
    keras.Model(images, x).save(path)
    if unsafe:  # for other files of the same program
        keras.config.enable_unsafe_deserialization()
    try:
        with pytest.raises(ValueError, match="could not be loaded"):
            load_classifier(path)
        assert in_safe_mode() is (False if unsafe else None)
    finally:
        set_global_attribute("safe_mode_saving", None)


def test_load_of_something_else(tmp_path):
    images = keras.Input((8, 8, 3))
    path = tmp_path / "identity.keras"
    keras.Model(images, keras.layers.ReLU()(images)).save(path)
    with pytest.raises(ValueError, match="one number for each class"):
        load_classifier(path)


def colours(number, seed):
    """Images of noise around one of two colours, and which."""
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % 2
    noise = generator.integers(0, 60, (number, 8, 8, 3))
    noise[..., 0] += 120 * labels[:, None, None]
    return noise.astype("uint8"), labels


def test_classification_accuracy_score():
    images, labels = colours(64, seed=0)
    test_images, test_labels = colours(50, seed=1)
    network = [make_classifier(2, widths=(8,)) for _ in range(2)]
    options = {"steps": 60, "batch_size": 32}
    score = classification_accuracy_score(
        *(images, labels, test_images, test_labels),
        model=network[0],
        **options,
    )
    assert score["top_1"] > 0.95
    assert "top_5" not in score  # of two classes
    assert (score["images"], score["steps"]) == (64, 60)
    # Of samples whose classes are exchanged it learns the opposite.
    score = classification_accuracy_score(
        *(images, 1 - labels, test_images, test_labels),
        model=network[1],
        **options,
    )
    assert score["top_1"] < 0.05


def test_classification_accuracy_score_of_wrong_input():
    images, labels = colours(4, seed=0)
    good = {
        "images": images,
        "labels": labels,
        "test_images": images,
        "test_labels": labels,
    }
    for change, message in (
        ({"images": images[:1], "labels": labels[:1]}, "At least 2 images"),
        ({"labels": labels[:3]}, "one label for each image"),
        ({"images": images / 255}, "uint8.*Received float64"),
        ({"test_images": images[:, :4]}, "one size"),
        ({"num_classes": 1}, r"Labels must be in 0\.\.0"),
        ({"labels": labels - 1}, r"Labels must be in 0\.\.1"),
        ({}, "images of at least 9x9"),
    ):
        with pytest.raises(ValueError, match=message):
            classification_accuracy_score(**{**good, **change})

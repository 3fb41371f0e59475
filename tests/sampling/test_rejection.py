import keras
import numpy as np
import pytest
from tiny_models import make_model

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.sampling import rejection
from keras_vqvae2.sampling.rejection import generate_candidates

LABELS = np.array([0, 1, 2, 1, 0])


@pytest.fixture(scope="module")
def model():
    return make_model().keep_priors()


@pytest.fixture(scope="module")
def classifier():
    """The three classes are how red, green and blue an image is."""
    images = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 16)(images)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x))


def fit(images, labels):
    """What the classifier must give: softmax of the means, by hand."""
    means = images.astype("float64").mean(axis=(1, 2)) / 16
    shares = np.exp(means) / np.exp(means).sum(axis=1, keepdims=True)
    return shares[np.arange(len(labels)), labels]


@pytest.fixture(scope="module")
def candidates(model, classifier):
    pairs = generate_candidates(
        model, classifier, 4, labels=LABELS, seed=3, batch_size=4
    )
    images, scores = zip(*pairs, strict=True)
    return np.stack(images), np.stack(scores)


def test_candidates(model, candidates):
    images, scores = candidates
    assert images.shape == (5, 4, 8, 8, 3) and scores.shape == (5, 4)
    assert len(np.unique(images.reshape(20, -1), axis=0)) == 20
    # The first one is the image that comes without rejection.
    np.testing.assert_array_equal(
        images[:, 0], model.generate(labels=LABELS, seed=3, batch_size=4)
    )
    for j in range(4):
        np.testing.assert_allclose(
            scores[:, j], fit(images[:, j], LABELS), rtol=1e-4
        )


def test_the_best_candidate_is_kept(model, classifier, candidates):
    images, scores = candidates
    for number in (4, 2, 3):
        kept = model.generate(
            labels=LABELS,
            seed=3,
            classifier=classifier,
            num_candidates=number,
            batch_size=4,
        )
        best = scores[:, :number].argmax(axis=1)
        np.testing.assert_array_equal(kept, images[np.arange(5), best])
    assert (best != 0).any()
    kept = rejection.generate_best(
        model, classifier, 1, labels=LABELS, seed=3, batch_size=4
    )
    np.testing.assert_array_equal(kept, images[:, 0])


def test_an_image_depends_on_seed_number_and_label_only(
    model, classifier, candidates
):
    kept = model.generate(
        labels=LABELS[:2],
        seed=3,
        classifier=classifier,
        num_candidates=4,
        batch_size=4,
    )
    best = candidates[1].argmax(axis=1)[:2]
    np.testing.assert_array_equal(kept, candidates[0][[0, 1], best])


def test_given_upper_level(model, classifier):
    top = np.arange(20).reshape(5, 2, 2) % 16
    pairs = generate_candidates(
        model, classifier, 2, labels=LABELS, codes=[top], batch_size=4
    )
    first = np.stack([images[0] for images, _ in pairs])
    np.testing.assert_array_equal(
        first, model.generate(labels=LABELS, codes=[top], batch_size=4)
    )


def test_interruption_keeps_whole_images(
    model, classifier, candidates, monkeypatch
):
    def interrupt(total, after):
        def update(bar, current):
            if bar.target == total and current / total > after:
                raise KeyboardInterrupt

        monkeypatch.setattr(keras.utils.Progbar, "update", update)

    options = {"labels": LABELS, "seed": 3, "classifier": classifier}
    interrupt(5 * 4 * 4, after=0.65)  # of the bottom level, of four rows
    kept = model.generate(**options, num_candidates=4, batch_size=4)
    best = candidates[1].argmax(axis=1)
    # 12 of 20 candidates were finished: those of 3 of 5 images.
    np.testing.assert_array_equal(kept, candidates[0][range(3), best[:3]])

    interrupt(5 * 8 * 4, after=0.11)
    with pytest.raises(KeyboardInterrupt):
        model.generate(**options, num_candidates=8, batch_size=4)


def test_probabilities_and_logits():
    logits = np.array([[1.0, 2.0, 3.0], [-1.0, 0.0, 0.5]])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = rejection.probabilities_of(logits)
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(rejection.probabilities_of(found), expected)
    # One row alone could be taken for probabilities.
    logits = np.array([[0.25, 0.75], [3.0, 1.0]])
    np.testing.assert_allclose(
        rejection.probabilities_of(logits)[0, 1], 1 / (1 + np.exp(-0.5))
    )
    with pytest.raises(ValueError, match="not finite"):
        rejection.probabilities_of(np.array([[np.nan, 1.0]]))


def test_wrong_use(model, classifier):
    def check(message, **options):
        with pytest.raises(ValueError, match=message):
            model.generate(
                **{
                    "labels": LABELS,
                    "classifier": classifier,
                    "num_candidates": 2,
                    **options,
                }
            )

    for number in (0, -2, 0.5, 2.0, np.nan, True):
        check(
            f"`num_candidates` must be a positive integer. Received: {number}",
            num_candidates=number,
        )
    check("belong together.*classifier=None", classifier=None)
    check("belong together.*num_candidates=1", num_candidates=1)
    check("needs `labels`", labels=None, num_images=2)
    check("say one number", num_images=2)
    check("say one number", codes=[np.zeros((2, 2, 2), int)])
    check("nothing to draw", codes=[np.zeros((5, 2, 2), int)] * 2)
    check(r"in 0\.\.2 for rejection", labels=[0, 3])
    check("Labels must be in", labels=[0, -1])
    images = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(images)
    four = keras.Model(images, keras.layers.ZeroPadding1D((0, 1))(x[..., None]))
    check("each of 3 classes", classifier=four)
    four = keras.Model(images, keras.layers.Concatenate()([x, x[:, :1]]))
    check(
        r"3 classes, shape \(1, 3\). Received shape \(1, 4\)", classifier=four
    )
    larger = keras.Input((16, 16, 3))
    x = keras.layers.Flatten()(larger)
    x = keras.layers.Dense(3)(x)
    check("does not take images of shape", classifier=keras.Model(larger, x))
    check("`num_candidates` must be .* at most 209715", num_candidates=10**12)
    for wrong in (5, "cifar10-classifier"):
        with pytest.raises(TypeError, match="must be a Keras model"):
            model.generate(labels=LABELS, classifier=wrong, num_candidates=2)
    with pytest.raises(ValueError, match="no classes"):
        make_model(num_classes=None).generate(
            labels=LABELS, classifier=classifier, num_candidates=2
        )


def test_on_the_command_line(classifier, tmp_path, monkeypatch, capsys):
    make_model().save_pretrained(tmp_path / "model")
    classifier.save(tmp_path / "classifier.keras")
    received = {}

    def generate(model, *args, **options):
        received.update(options)
        return np.zeros((2, 8, 8, 3), "uint8")

    monkeypatch.setattr(keras_vqvae2.VQVAE2, "generate", generate)
    command = [
        *("generate", "--model", str(tmp_path / "model"), "--labels", "0"),
        *("--output", str(tmp_path / "images"), "--num-candidates", "4"),
        *("--classifier", str(tmp_path / "classifier.keras")),
    ]
    assert main(command) == 0
    assert received["num_candidates"] == 4
    images = np.full((1, 8, 8, 3), 16, "uint8")
    np.testing.assert_allclose(
        received["classifier"].predict_on_batch(images), 1, rtol=1e-6
    )
    (tmp_path / "classifier.keras").unlink()
    assert main([*command, "--overwrite"]) == 2
    assert "There is no classifier" in capsys.readouterr().err

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image
from keras_vqvae2.evaluation import evaluate
from keras_vqvae2.evaluation import make_classifier
from keras_vqvae2.evaluation import negative_log_likelihood
from keras_vqvae2.evaluation import precision_recall
from keras_vqvae2.evaluation.evaluate import nearest_images

NAMES = ("ants", "bees", "cats")


def save_images(folder, number, seed, size=16):
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (number, size, size, 3), "uint8")
    for i, image in enumerate(images):
        path = folder / NAMES[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    order = np.argsort(np.arange(number) % 3, kind="stable")
    return images[order], np.arange(number)[order] % 3


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Folders of images, a saved model and a saved classifier."""
    home = tmp_path_factory.mktemp("evaluation")
    save_images(home / "train", 9, seed=0)
    save_images(home / "test", 6, seed=1)
    make_model(strides=(4, 2)).save_pretrained(home / "model")
    keras.utils.set_random_seed(0)
    make_classifier(3, widths=(4,)).save(home / "classifier.keras")
    return home


def arguments(home, *more):
    return [
        *("evaluate", "--model", str(home / "model")),
        *("--test-data", str(home / "test")),
        *("--batch-size", "6", "--num-samples", "6"),
        *map(str, more),
    ]


def fails(capsys, argv):
    assert main(argv) == 2
    return capsys.readouterr().err


def test_everything_on_the_command_line(home, capsys):
    folder = home / "model"
    card = folder / "README.md"
    written = card.read_text()
    card.write_text(
        f"{written}<!-- evaluation -->\nold\n<!-- end of evaluation -->\nend\n"
    )
    command = arguments(
        home,
        *("--data", home / "train", "--num-candidates", 1, 2, "--cas-steps", 2),
        *("--classifier", home / "classifier.keras"),
        *("--features", "classifier"),
        *("--write-card", "--card-photographs"),
    )
    assert main(command) == 0
    out = capsys.readouterr().out
    metrics = json.loads((folder / "metrics.json").read_text())
    assert json.loads(out) == metrics

    # The card: this section is new, the rest is as it was.
    text = card.read_text()
    assert text.startswith(written) and text.endswith("evaluation -->\nend\n")
    assert "\nold\n" not in text and text.count("<!-- evaluation -->") == 1
    assert "Of 6 test images and 9 training images, 16x16" in text
    for name in ("samples", "nearest", "reconstructions", "rejection"):
        assert f"({name}.png)" in text
        assert load_image(folder / f"{name}.png").shape[0] >= 16
    # The model is as it was, and still whole.
    model = keras_vqvae2.from_pretrained(folder)

    # The metrics are those of the functions, for the images in the folders.
    images, labels = save_images(home / "again", 6, seed=1)
    codes = model.encode(images)
    nll = negative_log_likelihood(model, codes, labels)
    for level in ("top", "bottom"):
        for name, value in nll[level].items():
            np.testing.assert_allclose(
                metrics["test"]["nll"][level][name], value, rtol=1e-5
            )
    test = metrics["test"]
    errors = (images.astype(float) - model.decode(codes)) / 127.5
    np.testing.assert_allclose(
        test["reconstruction"]["levels=2"]["mse"], (errors**2).mean()
    )
    assert metrics["train"]["reconstruction"]["images"] == 9
    assert metrics["classes"] == list(NAMES)

    samples = model.generate(labels=np.arange(6) % 3, batch_size=6)
    classifier = keras_vqvae2.evaluation.load_classifier(
        home / "classifier.keras"
    )
    extract = keras_vqvae2.evaluation.FeatureExtractor.from_classifier(
        classifier
    )
    train, _ = save_images(home / "again2", 9, seed=0)
    some = np.linspace(0, 8, 6).round().astype(int)
    (row,) = metrics["samples"]
    assert metrics["rejection"][0] == {"num_candidates": 1, **row}
    expected = precision_recall(extract(train)[0][some], extract(samples)[0])
    assert (row["precision"], row["recall"]) == expected
    hits = classifier.predict_on_batch(samples).argmax(axis=1) == [0, 1, 2] * 2
    assert row["top_1"] == hits.mean()
    with open(folder / "rejection.csv") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["num_candidates"]) for row in rows] == [1, 2]
    assert float(rows[1]["fid"]) == metrics["rejection"][1]["fid"]
    score = metrics["classification_accuracy_score"]
    assert list(score) == ["real", "reconstructions", "samples"]
    assert all(row["images"] == 6 for row in score.values())


def test_codes_of_a_search(home, tmp_path):
    """Reconstruction is of the codes that the options of `encode` give."""
    command = arguments(home, "--output", tmp_path, "--features", "none")
    command[command.index("--num-samples") + 1] = "0"
    assert main([*command, "--search-steps", "3"]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["encoding"] == {"rate_weight": 0.0, "search_steps": 3}
    model = keras_vqvae2.from_pretrained(home / "model")
    images, _ = save_images(tmp_path / "again", 6, seed=1)
    mse = []
    for steps in (0, 3):
        decoded = model.decode(model.encode(images, search_steps=steps))
        errors = (images.astype(float) - decoded) / 127.5
        mse.append((errors**2).mean())
    found = metrics["test"]["reconstruction"]["levels=2"]["mse"]
    np.testing.assert_allclose(found, mse[1])
    assert found < mse[0]
    section = keras_vqvae2.evaluation.card.card_section(metrics)
    assert "Codes are those of `encode(images, search_steps=3)`." in section
    assert "Codes are" not in keras_vqvae2.evaluation.card.card_section(
        {**metrics, "encoding": {"rate_weight": 0.0, "search_steps": 0}}
    )


def test_unknown_encodings_are_refused_before_the_work(home, tmp_path, capsys):
    output = ("--output", tmp_path / "new")
    command = arguments(home, *output, "--features", "none")
    for options, text in (
        (("--search-steps", -1), "--search-steps must be"),
        (("--rate-weight", "nan"), "--rate-weight must be"),
        (("--rate-weight", 1, "--search-steps", 1), "--search-steps"),
    ):
        assert text in fails(capsys, [*command, *map(str, options)])
    assert not (tmp_path / "new").exists()


def test_reconstruction_alone(home, tmp_path):
    vqvae = keras_vqvae2.from_pretrained(home / "model").vqvae
    metrics = evaluate(
        keras_vqvae2.VQVAE2(vqvae),
        home / "test",
        tmp_path,
        image_size=16,
        num_images=3,
    )
    assert "samples" not in metrics and "nll" not in metrics["test"]
    # Every second of six: of all classes.
    assert metrics["test"]["reconstruction"]["images"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {
        "metrics.json",
        "reconstructions.png",
    }


def test_without_classes(home, tmp_path):
    model = make_model(strides=(4, 2), num_classes=None)
    metrics = evaluate(
        model, home / "test", tmp_path, num_samples=2, batch_size=6
    )
    assert metrics["samples"] == [{"guidance_scale": 1.0, "images": 2}]
    assert load_image(tmp_path / "samples.png").shape == (16, 36, 3)


def test_exact_copies_have_no_psnr(home, tmp_path):
    """JSON has no infinity."""
    model = make_model(strides=(4, 2), num_classes=None)
    kernel, bias = model.vqvae.decoders[-1].weights[-2:]
    kernel.assign(kernel * 0)
    bias.assign(bias * 0 - 1)
    for i in range(2):
        (tmp_path / "black").mkdir(exist_ok=True)
        black = Image.fromarray(np.zeros((16, 16, 3), "uint8"))
        black.save(tmp_path / "black" / f"{i}.png")
    evaluate(model, tmp_path / "black", tmp_path, num_samples=0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    row = metrics["test"]["reconstruction"]["levels=2"]
    assert row["psnr_mean"] is None and row["mse"] == 0


def test_nearest_images():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (11, 4, 4, 3), "uint8")
    samples = generator.integers(0, 256, (2, 4, 4, 3), "uint8")
    batches = (images[i : i + 3] for i in range(0, 11, 3))
    found, errors = nearest_images(samples, batches, 4)
    for sample, mine, error in zip(samples, found, errors, strict=True):
        rmse = ((images - sample.astype(float)) ** 2).mean(
            axis=(1, 2, 3)
        ) ** 0.5
        order = np.argsort(rmse)[:4]
        np.testing.assert_array_equal(mine, images[order])
        np.testing.assert_allclose(error, rmse[order], rtol=1e-6)


def test_bad_input(home, tmp_path, capsys):
    before = (home / "model" / "README.md").read_text()
    none = ("--features", "none")
    output = ("--output", tmp_path / "out", *none)
    assert "Name a folder" in fails(capsys, arguments(home, *none))
    assert "needs a --classifier" in fails(
        capsys, arguments(home, *output, "--features", "classifier")
    )
    assert "needs a classifier" in fails(
        capsys, arguments(home, *output, "--num-candidates", 2)
    )
    assert "needs training images" in fails(
        capsys, arguments(home, *output, "--cas-steps", 5)
    )
    assert "are for images of 16x16" in fails(
        capsys, arguments(home, *output, "--image-size", 32)
    )
    assert "At least two samples" in fails(
        capsys, arguments(home, *output, "--num-samples", 1)
    )
    assert "--temperature must be positive" in fails(
        capsys, arguments(home, *output, "--temperature", 0)
    )
    assert "Guidance needs" in fails(
        capsys, arguments(home, *output, "--guidance-scale", 1, 2)
    )
    path = tmp_path / "four.keras"
    make_classifier(4, widths=(4,)).save(path)
    assert "each of 3 classes" in fails(
        capsys, arguments(home, *output, "--classifier", path)
    )
    save_images(tmp_path / "one", 1, seed=0)
    command = arguments(home, *output, "--test-data", tmp_path / "one")
    assert "At least two images are needed" in fails(capsys, command)
    for name in ("1", "2", "3"):
        (tmp_path / "many" / name).mkdir(parents=True)
    save_images(tmp_path / "many", 3, seed=0)
    command = arguments(home, *output, "--test-data", tmp_path / "many")
    assert "6 classes" in fails(capsys, command)
    # Before the work, not after it.
    command = arguments(home, *none, "--write-card", "--model", tmp_path)
    assert "not the folder of a saved model" in fails(capsys, command)
    assert (home / "model" / "README.md").read_text() == before
    assert not (tmp_path / "out").exists()

"""The weights that come with the package."""

import json

import numpy as np
import pytest

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights
from keras_vqvae2.data import load_image
from keras_vqvae2.data.image_file import sample_photograph
from keras_vqvae2.evaluation import load_classifier
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.images import psnr

NAME = "vqvae2-imagenet256"
CIFAR10 = "vqvae2-cifar10"


def test_reconstructs_a_photograph_offline(no_network):
    model = keras_vqvae2.from_pretrained(NAME)
    photograph = load_image(sample_photograph())[None]
    reconstruction = model.reconstruct(photograph)
    assert reconstruction.shape == photograph.shape == (1, 600, 512, 3)
    assert psnr(photograph, reconstruction)[0] > 28
    # What the top map alone holds is a recognisable picture, too.
    assert psnr(photograph, model.reconstruct(photograph, levels=1))[0] > 15


def test_codes_decode_to_what_was_encoded():
    model = keras_vqvae2.from_pretrained(NAME)
    photograph = load_image(sample_photograph())[None, :256, 128:384]
    codes = model.encode(photograph)
    assert [level.shape for level in codes] == [(1, 32, 32), (1, 64, 64)]
    for level in codes:
        assert level.min() >= 0 and level.max() < 512
    np.testing.assert_array_equal(
        model.decode(codes), model.reconstruct(photograph)
    )


def test_both_codebooks_are_in_use():
    vqvae = keras_vqvae2.from_pretrained(NAME).vqvae
    for quantizer in vqvae.quantizers:
        counts = weights.to_numpy(quantizer.counts)
        assert (counts > 0.01 * counts.mean()).mean() >= 0.95


def test_sizes_are_those_of_table_5():
    config = keras_vqvae2.from_pretrained(NAME).vqvae.get_config()
    for name, value in {
        "strides": (4, 2),
        "hidden_dim": 128,
        "residual_dim": 64,
        "num_residual_blocks": 2,
        "num_embeddings": 512,
        "embedding_dim": 64,
        "commitment_cost": 0.25,
        "decay": 0.99,
    }.items():
        assert config[name] == value


@pytest.mark.parametrize(
    ("name", "others"),
    [
        (NAME, {"history.csv", "learning_curve.png"}),
        (CIFAR10, {"history_top.csv", "history_bottom.csv", "samples.png"}),
        (
            "vqvae2-faces64",
            {"history.csv", "history_decay.csv", "history_top.csv"}
            | {"history_bottom.csv", "samples.png", "nearest.png"}
            | {"temperatures.png"},
        ),
    ],
)
def test_hashes_and_card(name, others):
    folder = keras_vqvae2.hub.bundled_weights()[name]
    sums = files.read_sha256sums(folder / "SHA256SUMS")
    for file, digest in sums.items():
        assert files.sha256(folder / file) == digest
    assert PRESETS[name].sums_sha256 == files.sha256(folder / "SHA256SUMS")
    names = {path.name for path in folder.iterdir()}
    assert names >= others | {
        "README.md",
        "config.json",
        "metrics.json",
        "model.safetensors",
    }


@pytest.mark.parametrize("model", [CIFAR10, "vqvae2-faces64"])
def test_priors_are_the_presets(model):
    config = keras_vqvae2.hub.config.read_config(
        keras_vqvae2.hub.bundled_weights()[model] / "config.json"
    )
    assert list(config.priors) == list(PRESETS[model].priors)
    for level, arguments in PRESETS[model].priors.items():
        prior = config.priors[level]
        for name, value in arguments.items():
            assert json.loads(json.dumps(value)) == getattr(prior, name)


def test_classifier_chooses_offline(no_network):
    model = keras_vqvae2.from_pretrained(CIFAR10)
    classifier = load_classifier("cifar10-classifier", num_classes=10)
    top = np.random.default_rng(0).integers(0, 128, (2, 8, 8))
    images = model.generate(
        labels=[8, 0], codes=[top], classifier=classifier, num_candidates=2
    )
    assert images.shape == (2, 32, 32, 3)

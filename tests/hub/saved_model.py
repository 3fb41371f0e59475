"""A tiny model, and what tests of saving and loading it share."""

import json

import keras
import numpy as np
from huggingface_hub import constants
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import files

REPO = "someone/tiny"
IMAGENET = "vqvae2-imagenet256"
FFHQ = "vqvae2-ffhq1024"
NOBODY = "http://127.0.0.1:9"  # refuses connections


def tiny_model(seed=0, name=None):
    return keras_vqvae2.VQVAE2(make_vqvae(seed=seed), name=name)


def values(model):
    return [
        keras.ops.convert_to_numpy(weight) for weight in model.vqvae.weights
    ]


def assert_same_weights(first, second):
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


def edit_config(folder, **changes):
    """Changes `vqvae` of a config, with a hash that fits."""
    config = json.loads((folder / "config.json").read_text())
    config["vqvae"].update(changes)
    write_config(folder, config)


def write_config(folder, config):
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    files.write_sha256sums(folder, ("config.json", "model.safetensors"))


def connect(monkeypatch, url):
    """What HF_ENDPOINT does when it is set before the import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)

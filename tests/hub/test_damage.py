"""Damaged files of saved models."""

import pytest
from saved_model import edit_config
from saved_model import flip_a_bit
from saved_model import tiny_model

import keras_vqvae2
from keras_vqvae2 import files


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_flipped_bit_is_found(copy, name):
    flip_a_bit(copy / name)
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        keras_vqvae2.from_pretrained(copy)


@pytest.mark.parametrize(
    "name", ["config.json", "model.safetensors", "SHA256SUMS"]
)
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"there is no {name}"):
        keras_vqvae2.from_pretrained(copy)


def test_a_mixture_of_two_models_is_found(copy, tmp_path):
    tiny_model(seed=1).save_pretrained(tmp_path / "other")
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(other)
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
        keras_vqvae2.from_pretrained(copy)


def test_an_unlisted_file_is_not_trusted(copy):
    files.write_sha256sums(copy, ["config.json"])
    with pytest.raises(ValueError, match="model.safetensors is damaged"):
        keras_vqvae2.from_pretrained(copy)


def test_weights_of_another_architecture_are_refused(copy):
    edit_config(copy, num_embeddings=17)
    with pytest.raises(ValueError, match=r"must be float32 of shape \(17"):
        keras_vqvae2.from_pretrained(copy)

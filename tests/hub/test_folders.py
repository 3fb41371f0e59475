"""`save_pretrained` and folders to `from_pretrained`."""

import json
import os

import huggingface_hub
import keras
import numpy as np
import pytest
from saved_model import assert_same_weights
from saved_model import tiny_model
from tiny_models import VQVAE_SIZES

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights as weights_module
from keras_vqvae2.hub import store


def test_round_trip(model, saved, no_network):
    loaded = keras_vqvae2.from_pretrained(saved)
    assert isinstance(loaded, keras_vqvae2.VQVAE2)
    assert loaded.name == "tiny"
    assert_same_weights(model, loaded)
    image = np.arange(64 * 64 * 3, dtype="uint8").reshape((1, 64, 64, 3))
    for a, b in zip(model.encode(image), loaded.encode(image), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_argument_survives(tmp_path):
    arguments = {
        **VQVAE_SIZES,
        "strides": (2, 4, 2),
        "num_residual_blocks": 1,
        "commitment_cost": 0.5,
        "decay": None,
        "dead_code_threshold": 0.0,
        "num_channels": 1,
        "seed": 7,
    }
    vqvae = keras_vqvae2.HierarchicalVQVAE(**arguments)
    keras_vqvae2.VQVAE2(vqvae).save_pretrained(tmp_path / "odd")
    loaded = keras_vqvae2.HierarchicalVQVAE.from_pretrained(tmp_path / "odd")
    config = loaded.get_config()
    assert {key: config[key] for key in arguments} == arguments


def test_classmethods_return_their_class(saved):
    model = keras_vqvae2.VQVAE2.from_pretrained(str(saved))
    assert type(model) is keras_vqvae2.VQVAE2
    vqvae = keras_vqvae2.HierarchicalVQVAE.from_pretrained(str(saved))
    assert type(vqvae) is keras_vqvae2.HierarchicalVQVAE


def test_an_autoencoder_saves_itself(model, tmp_path):
    folder = tmp_path / "mine"
    model.vqvae.save_pretrained(folder, license="mit")
    loaded = keras_vqvae2.from_pretrained(folder)
    assert loaded.name == "mine" and loaded.priors == {}
    assert_same_weights(model, loaded)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.vqvae.save_pretrained(folder)
    model.vqvae.save_pretrained(folder, overwrite=True)
    card = (folder / "README.md").read_text()
    assert f"of {model.vqvae.count_params()}\nparameters" in card


def test_a_prior_alone(generator, tmp_path):
    folder = tmp_path / "generator"
    generator.save_pretrained(folder)
    (folder / "model.safetensors").unlink()  # not needed
    load = keras_vqvae2.PixelSNAILPrior.from_pretrained
    for level in ("top", "bottom"):
        prior = load(folder, level, dtype="mixed_bfloat16")
        assert type(prior) is keras_vqvae2.PixelSNAILPrior
        assert prior.dtype_policy.name == "mixed_bfloat16"
        expected = generator.load_prior(level)
        for a, b in zip(prior.weights, expected.weights, strict=True):
            np.testing.assert_array_equal(
                keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
            )
    assert load(folder).code_shapes == generator.load_prior("top").code_shapes
    message = "no prior of the level 'middle'.*priors of: top, bottom"
    with pytest.raises(ValueError, match=message):
        load(folder, "middle")


def test_a_prior_of_a_model_without(saved):
    with pytest.raises(ValueError, match="priors of: no level"):
        keras_vqvae2.PixelSNAILPrior.from_pretrained(saved)


def test_dtype_is_passed_on(model, saved):
    loaded = keras_vqvae2.from_pretrained(saved, dtype="mixed_bfloat16")
    assert loaded.vqvae.dtype_policy.name == "mixed_bfloat16"
    assert_same_weights(model, loaded)


def test_layout(saved):
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]
    assert json.loads((saved / "config.json").read_text()) == {
        "format": "keras-vqvae2",
        "format_version": 1,
        "model": "vqvae2",
        "name": "tiny",
        "vqvae": {
            **VQVAE_SIZES,
            "strides": [4, 2],
            "num_residual_blocks": 2,
            "commitment_cost": 0.25,
            "decay": 0.99,
            "dead_code_threshold": 0.05,
            "num_channels": 3,
            "seed": 0,
        },
    }
    sums = files.read_sha256sums(saved / "SHA256SUMS")
    assert sums == {
        name: files.sha256(saved / name)
        for name in ("config.json", "model.safetensors")
    }


def test_short_card(saved):
    card = (saved / "README.md").read_text()
    data = huggingface_hub.ModelCard(card).data
    assert data.license == "apache-2.0"
    assert data.library_name == "keras-vqvae2"
    assert "vq-vae-2" in data.tags


def test_card_without_license_has_valid_front_matter(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    card = (tmp_path / "a" / "README.md").read_text()
    assert huggingface_hub.ModelCard(card).data.license is None


def test_license_must_be_an_identifier(model, tmp_path):
    with pytest.raises(ValueError, match="identifier of the Hub"):
        model.save_pretrained(tmp_path / "a", license="mit\ntags: [x]")
    assert not (tmp_path / "a").exists()


def test_a_card_is_never_overwritten(model, tmp_path):
    model.save_pretrained(tmp_path / "a", card="mine")
    (tmp_path / "a" / "metrics.json").write_text("{}")
    model.save_pretrained(tmp_path / "a", overwrite=True)
    assert (tmp_path / "a" / "README.md").read_text() == "mine"
    assert (tmp_path / "a" / "metrics.json").read_text() == "{}"
    model.save_pretrained(tmp_path / "a", overwrite=True, card="new")
    assert (tmp_path / "a" / "README.md").read_text() == "new"


def test_a_saved_model_is_replaced_only_on_request(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save_pretrained(tmp_path / "a")
    other = tiny_model(seed=1)
    other.save_pretrained(tmp_path / "a", overwrite=True)
    assert_same_weights(other, keras_vqvae2.from_pretrained(tmp_path / "a"))
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("name", ["config.json", "notes.txt"])
def test_other_folders_are_never_replaced(model, tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(FileExistsError, match="name another folder"):
        model.save_pretrained(tmp_path, overwrite=True)
    assert os.listdir(tmp_path) == [name]


def test_a_file_is_never_replaced(model, tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(FileExistsError, match="is a file"):
        model.save_pretrained(tmp_path / "a", overwrite=True)


def test_an_empty_folder_is_filled(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert_same_weights(model, keras_vqvae2.from_pretrained(tmp_path))


def test_a_symbolic_link_stays_one(model, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    model.save_pretrained(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "config.json").is_file()


def test_loads_the_old_model_after_a_kill_between_renames(model, tmp_path):
    model.save_pretrained(tmp_path / "a")
    # A save whose new folder is complete, but not in its place.
    killed = tmp_path / ".a.abcd_123.tmp"
    (killed / "new").mkdir(parents=True)
    (tmp_path / "a").rename(killed / "previous")
    loaded = keras_vqvae2.from_pretrained(tmp_path / "a")
    assert_same_weights(model, loaded)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save_pretrained(tmp_path / "a")
    model.save_pretrained(tmp_path / "a", overwrite=True)
    assert os.listdir(tmp_path) == ["a"]


def test_a_failed_save_leaves_the_old_model(model, tmp_path, monkeypatch):
    model.save_pretrained(tmp_path / "a")

    def fail(model, path):
        raise OSError("disk full")

    monkeypatch.setattr(weights_module, "save_weights", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_model(seed=1).save_pretrained(tmp_path / "a", overwrite=True)
    assert_same_weights(model, keras_vqvae2.from_pretrained(tmp_path / "a"))
    assert os.listdir(tmp_path) == ["a"]


def test_missing_folder():
    with pytest.raises(FileNotFoundError, match="no folder ./nowhere"):
        keras_vqvae2.from_pretrained("./nowhere")


def test_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no config.json"):
        keras_vqvae2.from_pretrained(tmp_path)


def test_folder_with_a_revision(saved):
    with pytest.raises(ValueError, match="are for the Hub"):
        keras_vqvae2.from_pretrained(saved, revision="main")


def test_relative_folder_name(model, saved, monkeypatch, no_network):
    monkeypatch.chdir(saved.parent)
    assert_same_weights(model, keras_vqvae2.from_pretrained("tiny"))


def test_a_folder_that_is_replaced_while_it_is_read(model, tmp_path):
    """Whole, whatever is read before and after another process's save."""
    other = tiny_model(seed=1, name="tiny")
    folder = tmp_path / "a"
    model.save_pretrained(folder)
    reads = []

    def load(snapshot):
        reads.append(snapshot)
        if len(reads) == 1:
            other.save_pretrained(folder, overwrite=True)
        return keras_vqvae2.VQVAE2.from_snapshot(snapshot)

    loaded = store.load_snapshot(load, folder)
    assert_same_weights(other, loaded)
    assert len(reads) == 2
    # A model that is damaged is not read again.
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="is damaged"):
        store.load_snapshot(load, folder)
    assert len(reads) == 3

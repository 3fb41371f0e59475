"""The table of presets, and names that are looked up in it."""

import dataclasses
import os
import pathlib

import pytest
from loopback_hub import Repository
from saved_model import FFHQ
from saved_model import IMAGENET
from saved_model import assert_same_weights
from saved_model import tiny_model

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2.hub import presets
from keras_vqvae2.hub.presets import PRESETS


@pytest.mark.parametrize("name", list(PRESETS))
def test_parameters_are_counted_exactly(name):
    info = {info.name: info for info in presets.list_presets()}[name]
    model = keras_vqvae2.VQVAE2.from_preset_config(name)
    assert model.name == name
    assert info.num_parameters == model.vqvae.count_params()


@pytest.mark.parametrize("name", list(PRESETS))
def test_training_scripts_exist(name):
    assert PRESETS[name].training_script.startswith("examples/")
    root = pathlib.Path(__file__).parents[2]
    assert (root / PRESETS[name].training_script).is_file()


def test_unknown_names_list_presets_and_the_closest(weights):
    with pytest.raises(ValueError, match=IMAGENET) as caught:
        keras_vqvae2.from_pretrained("vqvae-imagenet")
    assert f"Did you mean {IMAGENET!r}?" in str(caught.value)
    assert FFHQ in str(caught.value)


def test_unpublished_presets_say_how_to_train(hub, weights):
    with pytest.raises(FileNotFoundError, match="Nobody has published") as e:
        keras_vqvae2.from_pretrained(FFHQ)
    assert "examples/train_ffhq1024.py" in str(e.value)
    assert "from_preset_config" in str(e.value)
    assert hub.requests == []


def test_bundled_presets_do_not_touch_the_network(
    model, weights, no_network, monkeypatch
):
    monkeypatch.setenv(presets.OWNER_VARIABLE, "someone")
    model.save_pretrained(weights / IMAGENET)
    for options in ({}, {"local_files_only": True}):
        loaded = keras_vqvae2.from_pretrained(IMAGENET, **options)
        assert_same_weights(model, loaded)


def test_damaged_bundled_presets_are_refused(model, weights, no_network):
    model.save_pretrained(weights / IMAGENET)
    path = weights / IMAGENET / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match="Install keras-vqvae2 again"):
        keras_vqvae2.from_pretrained(IMAGENET)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (f"someone/{IMAGENET}", {}),
        (IMAGENET, {"revision": "main"}),
        (f"{IMAGENET}@main", {}),
        (IMAGENET, {"force_download": True}),
    ],
)
def test_options_of_the_hub_pass_by_the_bundled_preset(
    model, hub, weights, saved, published, name, options, monkeypatch
):
    # The Hub's weights are this test's here, and pinned.
    digest = files.sha256(saved / "SHA256SUMS")
    preset = dataclasses.replace(PRESETS[IMAGENET], sums_sha256=digest)
    monkeypatch.setitem(PRESETS, IMAGENET, preset)
    tiny_model(seed=1).save_pretrained(weights / IMAGENET)
    owner = "someone" if "/" in name else presets.DEFAULT_OWNER
    repository = Repository()
    repository.commit("main", published)
    hub.repositories[f"{owner}/{IMAGENET}"] = repository
    loaded = keras_vqvae2.from_pretrained(name, **options)
    assert_same_weights(model, loaded)


def test_owner_from_the_environment(
    model, hub, weights, published, monkeypatch
):
    monkeypatch.setenv(presets.OWNER_VARIABLE, "another")
    repository = hub.repositories[f"another/{FFHQ}"] = Repository()
    repository.commit("main", published)
    assert_same_weights(model, keras_vqvae2.from_pretrained(FFHQ))


def test_pinned_weights(model, hub, weights, published, monkeypatch):
    repository = Repository()
    repository.commit("main", published)
    hub.repositories[f"{presets.DEFAULT_OWNER}/{IMAGENET}"] = repository

    def pin(value):
        preset = dataclasses.replace(PRESETS[IMAGENET], sums_sha256=value)
        monkeypatch.setitem(PRESETS, IMAGENET, preset)

    pin("0" * 64)
    with pytest.raises(ValueError, match="keras-vqvae2 says that its SHA-256"):
        keras_vqvae2.from_pretrained(IMAGENET)
    # Another revision or owner may hold other weights.
    keras_vqvae2.from_pretrained(IMAGENET, revision="main")
    model.save_pretrained(weights / "x")
    pin(files.sha256(weights / "x" / "SHA256SUMS"))
    assert_same_weights(model, keras_vqvae2.from_pretrained(IMAGENET))


def test_list_presets(model, weights):
    model.save_pretrained(weights / IMAGENET)
    infos = {info.name: info for info in presets.list_presets()}
    assert list(infos) == list(PRESETS)
    bundled, unpublished = infos[IMAGENET], infos[FFHQ]
    assert bundled.source == "bundled"
    assert bundled.num_bytes == os.path.getsize(
        weights / IMAGENET / "model.safetensors"
    )
    assert unpublished.source == "unpublished"
    assert unpublished.location == "examples/train_ffhq1024.py"
    (weights / IMAGENET / "model.safetensors").unlink()
    on_hub = presets.list_presets()[0]
    assert on_hub.source == "hub"
    assert on_hub.location == f"keras-vqvae2/{IMAGENET}"


def test_scripts_come_with_the_wheel(tmp_path, monkeypatch):
    package = tmp_path / "keras_vqvae2"
    monkeypatch.setattr(presets, "__file__", str(package / "hub/presets.py"))
    script = "examples/train_ffhq1024.py"
    assert presets.find_script(PRESETS[FFHQ]) == script
    (package / "examples").mkdir(parents=True)
    (package / script).touch()
    assert presets.find_script(PRESETS[FFHQ]) == str(package / script)


def test_weights_folder_is_the_checkouts_or_the_wheels(tmp_path, monkeypatch):
    package = tmp_path / "site" / "keras_vqvae2"
    package.mkdir(parents=True)
    monkeypatch.setattr(
        presets, "__file__", str(package / "hub" / "presets.py")
    )
    (tmp_path / "site" / "weights").mkdir()
    # Beside an installed package lie other packages, not our weights.
    assert presets.weights_folder() is None
    assert presets.bundled_weights() == {}
    (tmp_path / "site" / "pyproject.toml").touch()
    assert presets.weights_folder() == tmp_path / "site" / "weights"
    (package / "weights").mkdir()
    assert presets.weights_folder() == package / "weights"

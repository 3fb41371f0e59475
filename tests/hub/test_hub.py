import json
import os
import pathlib
import subprocess
import sys

import huggingface_hub
import keras
import numpy as np
import pytest
from huggingface_hub import constants
from loopback_hub import WRITE_TOKEN
from loopback_hub import LoopbackHub
from loopback_hub import Repository

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights as weights_module
from keras_vqvae2.hub import store as hub_module
from keras_vqvae2.hub.presets import PRESETS

# huggingface_hub 2.4 with httpx2, where it uploads large files.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)

TINY = {
    "hidden_dim": 8,
    "residual_dim": 4,
    "num_embeddings": 16,
    "embedding_dim": 4,
}
REPO = "someone/tiny"
IMAGENET = "vqvae2-imagenet256"
FFHQ = "vqvae2-ffhq1024"
NOBODY = "http://127.0.0.1:9"  # refuses connections


def tiny_model(seed=0, name=None):
    vqvae = keras_vqvae2.HierarchicalVQVAE(**TINY, seed=seed)
    return keras_vqvae2.VQVAE2(vqvae, name=name)


@pytest.fixture(scope="module")
def model():
    return tiny_model(name="tiny")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    model.save_pretrained(folder, license="apache-2.0")
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A saved model to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in saved.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.fixture(scope="module")
def published(saved):
    return {path.name: path.read_bytes() for path in saved.iterdir()}


def connect(monkeypatch, url):
    """What HF_ENDPOINT does when it is set before the import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


@pytest.fixture
def hub(monkeypatch, tmp_path, published):
    """A Hub with the saved model in REPO; the client's cache is empty."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv(hub_module.OWNER_VARIABLE, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with LoopbackHub() as server:
        connect(monkeypatch, server.url)
        server.repositories[REPO] = Repository()
        server.repositories[REPO].commit("main", published)
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def sleeps(monkeypatch):
    """What the client would have slept between its retries."""
    waited = []
    monkeypatch.setattr(
        huggingface_hub.utils._http.time, "sleep", waited.append
    )
    return waited


@pytest.fixture
def weights(monkeypatch, tmp_path):
    """A `weights/` folder, empty."""
    folder = tmp_path / "weights"
    folder.mkdir()
    monkeypatch.setattr(hub_module, "weights_folder", lambda: folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)


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


# Folders.


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
        **TINY,
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
            **TINY,
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
    (tmp_path / "a").rename(tmp_path / ".a.previous")
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


# Damage.


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_flipped_bit_is_found(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[-9] ^= 1
    (copy / name).write_bytes(content)
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


# The schema of config.json.


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("strides", []),
        ("strides", [3]),
        ("strides", [4.0]),
        ("strides", [True]),
        ("strides", "42"),
        ("strides", [2] * 9),
        ("strides", [2**20]),
        ("hidden_dim", 7),
        ("hidden_dim", 2**40),
        ("hidden_dim", True),
        ("hidden_dim", "8"),
        ("residual_dim", 0),
        ("residual_dim", None),
        ("num_residual_blocks", -1),
        ("num_residual_blocks", 10**9),
        ("num_embeddings", 10**9),
        ("embedding_dim", 1e3),
        ("commitment_cost", -0.1),
        ("commitment_cost", float("nan")),
        ("commitment_cost", float("inf")),
        ("decay", 1.0),
        ("decay", float("nan")),
        ("decay", [0.5]),
        ("dead_code_threshold", 1),
        ("num_channels", 0),
        ("seed", -1),
        ("seed", 2**70),
    ],
)
def test_values_out_of_bounds_are_refused(copy, key, value):
    edit_config(copy, **{key: value})
    with pytest.raises(ValueError, match=f"`vqvae`: `{key}` must be"):
        keras_vqvae2.from_pretrained(copy)


def test_unknown_arguments_are_refused(copy):
    edit_config(copy, dtype={"class_name": "os.system"})
    with pytest.raises(ValueError, match=r"unknown keys \['dtype'\]"):
        keras_vqvae2.from_pretrained(copy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a JSON file"),
        ("[" * 50000, "not a JSON file"),
        ("[]", "must be a JSON object"),
        ("{}", "missing keys"),
        (" " * 70000, "larger than 65536 bytes"),
        ('"' + "x" * 60000 + '"', "must be a JSON object"),
    ],
)
def test_other_json_is_refused(copy, text, message):
    write_config(copy, text)
    with pytest.raises(ValueError, match=message) as caught:
        keras_vqvae2.from_pretrained(copy)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", "keras", "`format` must be 'keras-vqvae2'"),
        ("format_version", 2, "Update keras-vqvae2"),
        ("model", "__import__", "`model` must be 'vqvae2'"),
        ("name", "\x1b[2J", "`name` must be"),
        ("name", 3, "`name` must be"),
        ("vqvae", [], "must be a JSON object"),
        ("class_name", "Lambda", "unknown keys"),
    ],
)
def test_other_formats_are_refused(copy, key, value, message):
    config = json.loads((copy / "config.json").read_text())
    write_config(copy, {**config, key: value})
    with pytest.raises(ValueError, match=message):
        keras_vqvae2.from_pretrained(copy)


def test_huge_models_are_refused_before_building(copy, monkeypatch):
    def build(**_):
        raise AssertionError("built")

    monkeypatch.setattr(hub_module, "HierarchicalVQVAE", build)
    edit_config(copy, hidden_dim=8192, residual_dim=8192)
    with pytest.raises(ValueError, match=r"parameters, more than the"):
        keras_vqvae2.from_pretrained(copy)


def test_arguments_of_older_files_may_be_missing(model, copy):
    config = json.loads((copy / "config.json").read_text())
    del config["vqvae"]["dead_code_threshold"]
    write_config(copy, config)
    assert_same_weights(model, keras_vqvae2.from_pretrained(copy))


# Presets.


@pytest.mark.parametrize("name", list(PRESETS))
def test_parameters_are_counted_exactly(name):
    info = {info.name: info for info in hub_module.list_presets()}[name]
    model = keras_vqvae2.VQVAE2.from_preset_config(name)
    assert model.name == name
    assert info.num_parameters == model.vqvae.count_params()


@pytest.mark.parametrize(
    "arguments",
    [
        {"strides": (2,)},
        {"strides": (16, 8)},
        {"strides": (2, 2, 4, 2), "num_channels": 1},
        {"num_residual_blocks": 0, "decay": None},
    ],
)
def test_parameters_of_other_models_are_counted_exactly(arguments):
    arguments = {"strides": (4, 2), **TINY, **arguments}
    model = keras_vqvae2.HierarchicalVQVAE(**arguments)
    counted = keras_vqvae2.hub.config.num_parameters(**arguments)
    assert counted == model.count_params()


@pytest.mark.parametrize("name", list(PRESETS))
def test_training_scripts_are_named(name):
    assert PRESETS[name].training_script.startswith("examples/")


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
    monkeypatch.setenv(hub_module.OWNER_VARIABLE, "someone")
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
    "options",
    [{"owner": "someone"}, {"revision": "main"}, {"force_download": True}],
)
def test_options_of_the_hub_pass_by_the_bundled_preset(
    model, hub, weights, published, options, monkeypatch
):
    # The Hub's weights are this test's here, not those that are pinned.
    preset = hub_module.dataclasses.replace(PRESETS[IMAGENET], sums_sha256=None)
    monkeypatch.setitem(PRESETS, IMAGENET, preset)
    tiny_model(seed=1).save_pretrained(weights / IMAGENET)
    owner = options.get("owner", hub_module.DEFAULT_OWNER)
    repository = Repository()
    repository.commit("main", published)
    hub.repositories[f"{owner}/{IMAGENET}"] = repository
    loaded = keras_vqvae2.from_pretrained(IMAGENET, **options)
    assert_same_weights(model, loaded)


def test_owner_from_the_environment(
    model, hub, weights, published, monkeypatch
):
    monkeypatch.setenv(hub_module.OWNER_VARIABLE, "another")
    repository = hub.repositories[f"another/{FFHQ}"] = Repository()
    repository.commit("main", published)
    assert_same_weights(model, keras_vqvae2.from_pretrained(FFHQ))


def test_owner_of_a_repository_is_in_its_name(hub):
    with pytest.raises(ValueError, match="`owner` is for presets"):
        keras_vqvae2.from_pretrained(REPO, owner="another")


def test_pinned_weights(model, hub, weights, published, monkeypatch):
    repository = Repository()
    repository.commit("main", published)
    hub.repositories[f"{hub_module.DEFAULT_OWNER}/{IMAGENET}"] = repository

    def pin(value):
        preset = hub_module.dataclasses.replace(
            PRESETS[IMAGENET], sums_sha256=value
        )
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
    infos = {info.name: info for info in hub_module.list_presets()}
    assert list(infos) == list(PRESETS)
    bundled, unpublished = infos[IMAGENET], infos[FFHQ]
    assert bundled.source == "bundled"
    assert bundled.num_bytes == os.path.getsize(
        weights / IMAGENET / "model.safetensors"
    )
    assert unpublished.source == "unpublished"
    assert unpublished.location == "examples/train_ffhq1024.py"
    (weights / IMAGENET / "model.safetensors").unlink()
    on_hub = hub_module.list_presets()[0]
    assert on_hub.source == "hub"
    assert on_hub.location == f"keras-vqvae2/{IMAGENET}"


def test_weights_folder_is_the_checkouts_or_the_wheels(tmp_path, monkeypatch):
    package = tmp_path / "site" / "keras_vqvae2"
    package.mkdir(parents=True)
    monkeypatch.setattr(
        hub_module, "__file__", str(package / "hub" / "store.py")
    )
    (tmp_path / "site" / "weights").mkdir()
    # Beside an installed package lie other packages, not our weights.
    assert hub_module.weights_folder() is None
    assert hub_module.bundled_weights() == {}
    (tmp_path / "site" / "pyproject.toml").touch()
    assert hub_module.weights_folder() == tmp_path / "site" / "weights"
    (package / "weights").mkdir()
    assert hub_module.weights_folder() == package / "weights"


# Downloads.


@pytest.mark.parametrize("name", [REPO, f"hf://{REPO}", f"{REPO}@main"])
def test_download(model, hub, name):
    assert_same_weights(model, keras_vqvae2.from_pretrained(name))


def test_a_second_load_does_not_download_again(hub):
    keras_vqvae2.from_pretrained(REPO)
    hub.requests.clear()
    keras_vqvae2.from_pretrained(REPO)
    assert hub.requests == [f"HEAD /{REPO}/resolve/main/config.json"]


def test_force_download(hub):
    keras_vqvae2.from_pretrained(REPO)
    hub.requests.clear()
    keras_vqvae2.from_pretrained(REPO, force_download=True)
    assert sum(line.startswith("GET") for line in hub.requests) == 3


def test_cache_dir(hub, tmp_path):
    keras_vqvae2.from_pretrained(REPO, cache_dir=tmp_path / "mine")
    assert list((tmp_path / "mine").rglob("model.safetensors"))
    assert not (tmp_path / "cache").exists()


def test_revisions(model, hub, tmp_path):
    repository = hub.repositories[REPO]
    old = repository.refs["main"]
    repository.refs["v1"] = old
    other = tiny_model(seed=1)
    other.save_pretrained(tmp_path / "other")
    new = {p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()}
    repository.commit("main", new)
    assert_same_weights(other, keras_vqvae2.from_pretrained(REPO))
    for revision in ("v1", old):
        loaded = keras_vqvae2.from_pretrained(REPO, revision=revision)
        assert_same_weights(model, loaded)
        loaded = keras_vqvae2.from_pretrained(f"hf://{REPO}@{revision}")
        assert_same_weights(model, loaded)


def test_all_files_are_of_one_commit(model, hub, tmp_path, monkeypatch):
    """A push that comes between two files of a download changes nothing."""
    tiny_model(seed=1).save_pretrained(tmp_path / "other")
    new = {p.name: p.read_bytes() for p in (tmp_path / "other").iterdir()}
    download = huggingface_hub.hf_hub_download

    def download_then_push(repo_id, name, **kwargs):
        path = download(repo_id, name, **kwargs)
        hub.repositories[REPO].commit("main", new)
        return path

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download_then_push)
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))


def test_two_revisions_contradict(hub):
    with pytest.raises(ValueError, match="must name one revision"):
        keras_vqvae2.from_pretrained(f"{REPO}@a", revision="b")


def test_offline_after_a_download(model, hub, monkeypatch):
    keras_vqvae2.from_pretrained(REPO)
    hub.requests.clear()
    loaded = keras_vqvae2.from_pretrained(REPO, local_files_only=True)
    assert_same_weights(model, loaded)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))
    assert hub.requests == []


def test_offline_without_a_download(hub, monkeypatch):
    with pytest.raises(FileNotFoundError, match="not in the cache") as caught:
        keras_vqvae2.from_pretrained(REPO, local_files_only=True)
    assert REPO in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE"):
        keras_vqvae2.from_pretrained(REPO)
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE"):
        keras_vqvae2.from_pretrained(REPO, force_download=True)
    assert hub.requests == []


def test_unreachable(model, hub, monkeypatch, sleeps):
    connect(monkeypatch, NOBODY)
    for options in ({}, {"force_download": True}):
        with pytest.raises(
            ConnectionError, match="cannot be reached, also after retries"
        ) as e:
            keras_vqvae2.from_pretrained(REPO, **options)
        assert REPO in str(e.value) and "HF_ENDPOINT" in str(e.value)
    assert sum(sleeps) > 10  # the client did retry


def test_unreachable_but_cached(model, hub, monkeypatch):
    keras_vqvae2.from_pretrained(REPO)
    connect(monkeypatch, NOBODY)
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))


def test_the_hub_is_down(hub, sleeps):
    hub.status = 503
    with pytest.raises(ConnectionError, match="answered with an error") as e:
        keras_vqvae2.from_pretrained(REPO)
    assert REPO in str(e.value) and "503" in str(e.value)


def test_missing_repository(hub):
    with pytest.raises(FileNotFoundError, match="no repository no/such") as e:
        keras_vqvae2.from_pretrained("no/such")
    assert "hf auth login" in str(e.value)
    with pytest.raises(FileNotFoundError, match="no repository no/such"):
        keras_vqvae2.from_pretrained("no/such", force_download=True)


def test_missing_revision(hub):
    with pytest.raises(FileNotFoundError, match=f"{REPO} .*revision 'v9'"):
        keras_vqvae2.from_pretrained(REPO, revision="v9")


@pytest.mark.parametrize(
    "name", ["config.json", "SHA256SUMS", "model.safetensors"]
)
def test_missing_file_on_the_hub(hub, name):
    repository = hub.repositories[REPO]
    del repository.commits[repository.refs["main"]][name]
    with pytest.raises(FileNotFoundError, match=f"{REPO} .* has no {name}"):
        keras_vqvae2.from_pretrained(REPO)


@pytest.mark.parametrize("name", ["hf://tiny", "hf://a/b/c", "-a/b"])
def test_invalid_repository_names(hub, name):
    with pytest.raises(ValueError, match="must be .*owner/name"):
        keras_vqvae2.from_pretrained(name)
    assert hub.requests == []


def test_gated_repository(model, hub):
    hub.repositories[REPO].gated = True
    with pytest.raises(PermissionError, match=f"{REPO} .*is gated") as caught:
        keras_vqvae2.from_pretrained(REPO)
    assert "hf auth login" in str(caught.value)
    loaded = keras_vqvae2.from_pretrained(REPO, token="hf_read")
    assert_same_weights(model, loaded)


def test_token_is_not_accepted(hub):
    hub.status = 403
    with pytest.raises(PermissionError, match=f"read {REPO}") as caught:
        keras_vqvae2.from_pretrained(REPO, token="hf_secret")
    assert "hf_secret" not in str(caught.value)


def test_download_is_cut_short(model, hub):
    hub.shortened.add("model.safetensors")
    with pytest.raises(OSError, match=f"{REPO} .*was cut short"):
        keras_vqvae2.from_pretrained(REPO)
    hub.shortened.clear()
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))


def test_a_lost_connection_is_resumed(model, hub, sleeps):
    hub.cut_once.add("model.safetensors")
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))
    assert not hub.cut_once


def test_wrong_bytes_of_the_right_size(model, hub, published):
    content = bytearray(published["model.safetensors"])
    content[-5] ^= 1
    hub.corrupt["model.safetensors"] = bytes(content)
    for _ in range(2):  # what is in the cache by now is refused as well
        with pytest.raises(ValueError, match="force_download=True") as caught:
            keras_vqvae2.from_pretrained(REPO)
        assert "is damaged" in str(caught.value)
        assert REPO in str(caught.value)
    hub.corrupt.clear()
    loaded = keras_vqvae2.from_pretrained(REPO, force_download=True)
    assert_same_weights(model, loaded)
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_damaged_in_the_cache(model, hub, tmp_path, name):
    keras_vqvae2.from_pretrained(REPO)
    (path,) = (tmp_path / "cache").rglob(name)
    path.resolve().write_bytes(path.read_bytes()[:-1])
    for options in ({}, {"local_files_only": True}):
        with pytest.raises(ValueError, match="force_download=True"):
            keras_vqvae2.from_pretrained(REPO, **options)
    loaded = keras_vqvae2.from_pretrained(REPO, force_download=True)
    assert_same_weights(model, loaded)


def test_weights_are_not_downloaded_for_a_bad_config(hub, copy):
    edit_config(copy, hidden_dim=2**40)
    hostile = {path.name: path.read_bytes() for path in copy.iterdir()}
    hub.repositories["evil/model"] = Repository()
    hub.repositories["evil/model"].commit("main", hostile)
    with pytest.raises(ValueError, match="`hidden_dim` must be"):
        keras_vqvae2.from_pretrained("evil/model")
    assert not any("safetensors" in line for line in hub.requests)


def test_force_download_contradicts_local_files_only(hub):
    with pytest.raises(ValueError, match="exclude each other"):
        keras_vqvae2.from_pretrained(
            REPO, force_download=True, local_files_only=True
        )


# Uploads.


def test_upload_and_download_again(model, hub):
    url = model.push_to_hub(
        "me/new", token=WRITE_TOKEN, license="mit", commit_message="First"
    )
    repository = hub.repositories["me/new"]
    assert url == f"{hub.url}/me/new/commit/{repository.refs['main']}"
    assert len(repository.commits) == 2  # the empty one, and all files in one
    assert sorted(repository.commits[repository.refs["main"]]) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]
    assert_same_weights(model, keras_vqvae2.from_pretrained("me/new"))


def test_upload_again_keeps_the_card(model, hub):
    hub.repositories["me/new"] = Repository()
    hub.repositories["me/new"].commit("main", {"README.md": b"mine"})
    model.push_to_hub("me/new", token=WRITE_TOKEN)
    repository = hub.repositories["me/new"]
    files_now = repository.commits[repository.refs["main"]]
    assert files_now["README.md"] == b"mine"
    model.push_to_hub(
        "me/new", token=WRITE_TOKEN, card="---\nlicense: mit\n---\nnew"
    )
    files_now = repository.commits[repository.refs["main"]]
    assert files_now["README.md"].endswith(b"new")


def test_upload_to_a_branch(model, hub):
    model.push_to_hub("me/new", token=WRITE_TOKEN, revision="next")
    loaded = keras_vqvae2.from_pretrained("me/new", revision="next")
    assert_same_weights(model, loaded)
    with pytest.raises(FileNotFoundError, match="has no config.json"):
        keras_vqvae2.from_pretrained("me/new")


@pytest.mark.parametrize("token", [None, "hf_read"])
def test_upload_without_permission(model, hub, token):
    with pytest.raises(PermissionError, match="write to me/new") as caught:
        model.push_to_hub("me/new", token=token)
    assert "write permission" in str(caught.value)
    assert "me/new" not in hub.repositories


def test_upload_to_an_invalid_name(model, hub):
    with pytest.raises(ValueError, match="not a repository of the Hub"):
        model.push_to_hub("me/new/one", token=WRITE_TOKEN)


def test_upload_of_an_invalid_card(model, hub):
    with pytest.raises(ValueError, match="Invalid metadata in README.md"):
        model.push_to_hub("me/new", token=WRITE_TOKEN, card="no front matter")


def test_upload_unreachable(model, hub, monkeypatch, sleeps):
    connect(monkeypatch, NOBODY)
    with pytest.raises(ConnectionError, match="me/new"):
        model.push_to_hub("me/new", token=WRITE_TOKEN)


def test_upload_offline(model, hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(ConnectionError, match="nothing was published"):
        model.push_to_hub("me/new", token=WRITE_TOKEN)


def test_a_damaged_folder_is_not_published(hub, copy):
    (copy / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="It was not published"):
        hub_module.push_folder(copy, "me/new", token=WRITE_TOKEN)
    assert hub.requests == []


def test_push_all(model, hub, weights):
    model.save_pretrained(weights / IMAGENET)
    (weights / IMAGENET / "metrics.json").write_text("{}")
    (weights / IMAGENET / ".hidden").write_text("x")
    repo_id = f"me/{IMAGENET}"
    assert hub_module.push_all("me", dry_run=True) == {repo_id: None}
    assert hub.requests == []
    urls = hub_module.push_all("me", token=WRITE_TOKEN)
    repository = hub.repositories[repo_id]
    sha = repository.refs["main"]
    assert urls == {repo_id: f"{hub.url}/{repo_id}/commit/{sha}"}
    assert "metrics.json" in repository.commits[sha]
    assert ".hidden" not in repository.commits[sha]
    loaded = keras_vqvae2.from_pretrained(IMAGENET, owner="me")
    assert_same_weights(model, loaded)


def test_push_all_checks_before_it_sends(model, hub, weights):
    model.save_pretrained(weights / IMAGENET)
    model.save_pretrained(weights / "zzz")
    (weights / "zzz" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="Nothing was published"):
        hub_module.push_all("me", token=WRITE_TOKEN)
    assert hub.requests == []


def test_push_all_without_weights(hub, weights):
    with pytest.raises(FileNotFoundError, match="nothing to publish"):
        hub_module.push_all("me", token=WRITE_TOKEN)


# A process of its own, with nothing but the environment variables.


def test_environment_variables(hub, tmp_path):
    script = f"""
import keras_vqvae2
from huggingface_hub import constants
assert constants.ENDPOINT == {hub.url!r}
model = keras_vqvae2.from_pretrained("vqvae2-ffhq1024")
assert model.name == "tiny"
"""
    hub.repositories[f"someone/{FFHQ}"] = hub.repositories[REPO]
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        hub_module.OWNER_VARIABLE: "someone",
    }
    subprocess.run(
        [sys.executable, "-c", script],
        check=True,
        env=environment,
        cwd=pathlib.Path(__file__).parents[2],
        timeout=600,
    )
    assert f"GET /someone/{FFHQ}/resolve/" in "\n".join(hub.requests)
    assert list((tmp_path / "home").rglob("model.safetensors"))

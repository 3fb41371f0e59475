"""Downloads from the Hub."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import huggingface_hub
import pytest
from huggingface_hub import constants
from loopback_hub import Repository
from saved_model import FFHQ
from saved_model import NOBODY
from saved_model import REPO
from saved_model import assert_same_weights
from saved_model import connect
from saved_model import edit_config
from saved_model import flip_a_bit
from saved_model import tiny_model

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.hub import patience
from keras_vqvae2.hub import presets


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


def downloads(hub, name):
    return sum(
        line.startswith("GET") and line.endswith(name) for line in hub.requests
    )


@pytest.fixture
def generator_repo(hub, generator, tmp_path):
    generator.save_pretrained(tmp_path / "generator")
    content = {
        p.name: p.read_bytes() for p in (tmp_path / "generator").iterdir()
    }
    hub.repositories["someone/generator"] = Repository()
    hub.repositories["someone/generator"].commit("main", content)
    return "someone/generator"


def test_force_download_is_once_for_each_file(hub, generator_repo):
    for times in (1, 2):
        model = keras_vqvae2.from_pretrained(
            generator_repo, force_download=True
        )
        for _ in range(2):
            model.generate(labels=[0])
        for level in ("top", "bottom"):
            assert downloads(hub, f"prior_{level}.safetensors") == times
        assert downloads(hub, "model.safetensors") == times


def test_a_prior_alone_is_downloaded(hub, generator_repo):
    keras_vqvae2.PixelSNAILPrior.from_pretrained(generator_repo, "bottom")
    assert downloads(hub, "prior_bottom.safetensors") == 1
    assert downloads(hub, "prior_top.safetensors") == 0
    assert downloads(hub, "model.safetensors") == 0


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


# Errors for Python and for the command line.


def test_errors_name_what_their_reader_can_pass(
    model, hub, weights, tmp_path, monkeypatch, capsys
):
    def check(name, in_python, in_both):
        with pytest.raises((OSError, ValueError)) as caught:
            keras_vqvae2.from_pretrained(name)
        message = str(caught.value)
        assert in_python in message and in_both in message
        assert " --" not in message
        assert main(["info", name]) == 2
        message = capsys.readouterr().err
        assert in_both in message
        for argument in (
            "force_download",
            "from_preset_config",
            "local_files_only",
            "`token`",
            "revision=",
        ):
            assert argument not in message

    keras_vqvae2.from_pretrained(REPO)
    (path,) = (tmp_path / "cache").rglob("model.safetensors")
    flip_a_bit(path.resolve())
    check(REPO, "`force_download=True`", "delete the folder models--someone--")
    check(FFHQ, "VQVAE2.from_preset_config", "examples/train_ffhq1024.py")
    check("no/such", "hf auth login", "HF_TOKEN")
    check(f"{REPO}@", "", "a branch, a tag or a commit after '@'")
    hub.repositories["a/gated"] = Repository(gated=True)
    check("a/gated", "hf auth login", "HF_TOKEN")
    with pytest.raises(FileNotFoundError, match="`local_files_only=True`") as e:
        keras_vqvae2.from_pretrained("no/such", local_files_only=True)
    assert "HF_HUB_OFFLINE" not in str(e.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    check("no/such", "", "HF_HUB_OFFLINE")


def test_deleting_the_folder_in_the_cache_helps(model, hub, tmp_path):
    keras_vqvae2.from_pretrained(REPO)
    (path,) = (tmp_path / "cache").rglob("model.safetensors")
    flip_a_bit(path.resolve())
    with pytest.raises(ValueError, match="delete the folder (models--.*) in t"):
        keras_vqvae2.from_pretrained(REPO)
    shutil.rmtree(tmp_path / "cache" / "models--someone--tiny")
    assert_same_weights(model, keras_vqvae2.from_pretrained(REPO))


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
        presets.OWNER_VARIABLE: "someone",
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


@pytest.mark.parametrize("fault", ["silent", "dripping"])
def test_a_hub_that_does_not_answer(hub, monkeypatch, caplog, fault):
    """The reason is said at once, and an end comes."""
    monkeypatch.setattr(patience, "_SAY_AFTER", 0.05)
    monkeypatch.setattr(patience, "_ANSWER_WITHIN", 0.4)
    monkeypatch.setattr(patience, "_LEAST_RATE", 1e6)
    if fault == "silent":
        hub.silent = True
    else:
        hub.dripping.add("config.json")
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="Waited .* it does not answer"):
        keras_vqvae2.from_pretrained(REPO)
    assert time.monotonic() - start < 5
    messages = [record.getMessage() for record in caplog.records]
    waiting = f"Waiting for {hub.url} for config.json of {REPO}."
    assert waiting in messages or fault == "dripping"

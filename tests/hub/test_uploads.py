"""Uploads to the Hub."""

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants
from loopback_hub import WRITE_TOKEN
from loopback_hub import Repository
from saved_model import IMAGENET
from saved_model import NOBODY
from saved_model import assert_same_weights
from saved_model import connect
from saved_model import flip_a_bit

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2.hub import push_all
from keras_vqvae2.hub import push_folder

# huggingface_hub 2.4 with httpx2, where it uploads large files.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Use 'content=<...>' to upload raw bytes:DeprecationWarning"
)


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
        push_folder(copy, "me/new", token=WRITE_TOKEN)
    assert hub.requests == []


def test_a_damaged_prior_is_not_published(hub, weights, generator):
    folder = weights / "generator"
    generator.save_pretrained(folder)
    prior = folder / "prior_top.safetensors"

    def check(error, message):
        with pytest.raises(error, match=message):
            push_folder(folder, "me/new", token=WRITE_TOKEN)
        with pytest.raises(error, match=message):
            push_all("me", token=WRITE_TOKEN)

    flip_a_bit(prior)
    check(ValueError, "prior_top.safetensors is damaged.* was (not )?published")
    listed = ["config.json", "model.safetensors", "prior_bottom.safetensors"]
    files.write_sha256sums(folder, listed)
    check(ValueError, "prior_top.safetensors is damaged.* does not list it")
    prior.unlink()
    check(FileNotFoundError, "no prior_top.safetensors")
    assert hub.requests == []


def test_every_file_with_a_hash_is_checked(hub, copy):
    (copy / "metrics.json").write_text("{}")
    names = ["config.json", "model.safetensors", "metrics.json"]
    files.write_sha256sums(copy, names)
    (copy / "metrics.json").write_text("[]")
    with pytest.raises(ValueError, match="metrics.json is damaged"):
        push_folder(copy, "me/new", token=WRITE_TOKEN)
    assert hub.requests == []


def test_priors_are_published(hub, generator):
    generator.push_to_hub("me/generator", token=WRITE_TOKEN)
    loaded = keras_vqvae2.from_pretrained("me/generator")
    np.testing.assert_array_equal(
        loaded.generate(labels=[2, 0]), generator.generate(labels=[2, 0])
    )


def test_an_autoencoder_publishes_itself(model, hub):
    model.vqvae.push_to_hub("me/new", token=WRITE_TOKEN, license="mit")
    assert_same_weights(model, keras_vqvae2.from_pretrained("me/new"))


def test_push_all(model, hub, weights):
    model.save_pretrained(weights / IMAGENET)
    (weights / IMAGENET / "metrics.json").write_text("{}")
    (weights / IMAGENET / ".hidden").write_text("x")
    repo_id = f"me/{IMAGENET}"
    assert push_all("me", dry_run=True) == {repo_id: None}
    assert hub.requests == []
    urls = push_all("me", token=WRITE_TOKEN)
    repository = hub.repositories[repo_id]
    sha = repository.refs["main"]
    assert urls == {repo_id: f"{hub.url}/{repo_id}/commit/{sha}"}
    assert "metrics.json" in repository.commits[sha]
    assert ".hidden" not in repository.commits[sha]
    loaded = keras_vqvae2.from_pretrained(f"me/{IMAGENET}")
    assert_same_weights(model, loaded)


def test_push_all_checks_before_it_sends(model, hub, weights):
    model.save_pretrained(weights / IMAGENET)
    model.save_pretrained(weights / "zzz")
    (weights / "zzz" / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="Nothing was published"):
        push_all("me", token=WRITE_TOKEN)
    assert hub.requests == []


def test_push_all_without_weights(hub, weights):
    with pytest.raises(FileNotFoundError, match="nothing to publish"):
        push_all("me", token=WRITE_TOKEN)

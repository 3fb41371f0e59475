import huggingface_hub
import pytest
from huggingface_hub import constants
from loopback_hub import LoopbackHub
from loopback_hub import Repository
from saved_model import REPO
from saved_model import connect
from saved_model import tiny_model
from tiny_models import make_model

from keras_vqvae2.hub import presets


@pytest.fixture(scope="module")
def model():
    return tiny_model(name="tiny")


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tiny"
    model.save_pretrained(folder, license="apache-2.0")
    return folder


@pytest.fixture(scope="module")
def generator():
    """A model with priors."""
    return make_model()


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


@pytest.fixture
def hub(monkeypatch, tmp_path, published):
    """A Hub with the saved model in REPO; the client's cache is empty."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv(presets.OWNER_VARIABLE, raising=False)
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
    monkeypatch.setattr(presets, "weights_folder", lambda: folder)
    return folder


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("asked the Hub")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)

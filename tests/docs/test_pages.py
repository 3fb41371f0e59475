"""Every block of code of the pages runs, with tiny models and few steps."""

import contextlib
import inspect
import pathlib
import re
import shlex

import numpy as np
import pytest
from PIL import Image
from tiny_models import VQVAE_SIZES
from tiny_models import make_model
from tiny_models import make_priors
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.cli import main as cli
from keras_vqvae2.hub.presets import PRESETS

pytestmark = pytest.mark.once

SIZES = {**VQVAE_SIZES, "num_residual_blocks": 1}

DOCS = pathlib.Path(keras_vqvae2.__file__).parent.parent / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))


def blocks(page, language):
    text = (DOCS / f"{page}.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.M)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Stand-ins for what would take long; the current folder has photos.

    Of the public functions all but the sizes is real.
    """
    monkeypatch.chdir(tmp_path)
    photos = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), "uint8")
    for i, photo in enumerate(photos):
        path = tmp_path / "photos" / ("cats", "dogs")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path)

    changes = {"num_classes": 10, "class_dropout": 0.1}

    def from_pretrained(name):
        assert name in PRESETS
        if name == "vqvae2-cifar10":
            return make_model(**changes)
        strides = PRESETS[name].vqvae["strides"]
        return keras_vqvae2.VQVAE2(make_vqvae(strides, num_residual_blocks=1))

    def load_prior(name, level):
        assert level in PRESETS[name].priors
        return make_priors(**changes)[level]

    real_model = keras_vqvae2.HierarchicalVQVAE
    real_fit = real_model.fit
    real_folder = keras_vqvae2.data.image_folder_dataset

    def fit(self, x=None, steps_per_epoch=None, epochs=1, **options):
        assert steps_per_epoch is None or steps_per_epoch * epochs > 1
        steps = steps_per_epoch and 1
        return real_fit(self, x, steps_per_epoch=steps, verbose=0, **options)

    def folder(path, image_size, batch_size, **options):
        return real_folder(path, image_size // 8, 2, **options)

    def model(*args, **options):
        return real_model(*args, **{**SIZES, **options})

    monkeypatch.setattr(keras_vqvae2, "from_pretrained", from_pretrained)
    monkeypatch.setattr(
        keras_vqvae2.PixelSNAILPrior, "from_pretrained", load_prior
    )
    monkeypatch.setattr(real_model, "fit", fit)
    monkeypatch.setattr(keras_vqvae2, "HierarchicalVQVAE", model)
    monkeypatch.setattr(keras_vqvae2.data, "image_folder_dataset", folder)
    # Another test has the strategies; there is one in a process.
    monkeypatch.setattr(
        keras_vqvae2.training,
        "distribute",
        lambda strategy: contextlib.nullcontext(1),
    )
    codes = (np.zeros((70, 2, 2), "int32"), np.ones((70, 4, 4), "int32"))
    keras_vqvae2.data.write_code_shards(
        lambda skipped: [(codes, None)],
        tmp_path / "codes",
        num_embeddings=16,
        level_names=("top", "bottom"),
    )
    # Functions that run once are not worth a graph.
    tf = pytest.importorskip("tensorflow")
    tf.config.run_functions_eagerly(True)
    yield {"images": photos}
    tf.config.run_functions_eagerly(False)


@pytest.mark.filterwarnings("ignore:Even though the `tf.config:UserWarning")
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")])
def test_python_of_a_page_runs(page, tiny):
    for block in blocks(page, "python"):
        if "ModelParallel" in block:  # JAX alone; tests/scale runs it
            compile(block, page, "exec")
        else:
            exec(block, tiny)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "bash")])
def test_commands_of_a_page_exist(page):
    found = 0
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["keras-vqvae2"]:
                # An unknown option is SystemExit.
                cli.__globals__["_parser"](words[1]).parse_args(words[1:])
                found += 1
    assert found or "TF_CONFIG" in block


def test_all_that_is_public_is_in_the_pages_of_the_api():
    pages = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    shown = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    for name in keras_vqvae2.__all__:
        thing = getattr(keras_vqvae2, name)
        if inspect.ismethod(thing):
            thing = thing.__self__  # from_pretrained
        if inspect.ismodule(thing):
            assert thing.__name__ in shown
        else:
            module = thing.__module__
            assert {f"{module}.{thing.__name__}", module.rsplit(".", 1)[0]} & (
                shown
            ) or f"keras_vqvae2.pytorch_import.{name}" in shown

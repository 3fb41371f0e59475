"""The schema of `config.json`."""

import inspect
import json

import numpy as np
import pytest
from saved_model import assert_same_weights
from saved_model import edit_config
from saved_model import write_config
from tiny_models import VQVAE_SIZES

import keras_vqvae2
from keras_vqvae2.codec import ContextModel
from keras_vqvae2.codec.context_model import array_shapes
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.vqvae_config import VQVAEConfig


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
        ("skip_relu", 1),
        ("skip_relu", None),
    ],
)
def test_values_out_of_bounds_are_refused(copy, key, value):
    edit_config(copy, **{key: value})
    with pytest.raises(ValueError, match=f"`vqvae`: `{key}` must be"):
        keras_vqvae2.from_pretrained(copy)


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ([], "`context` must be a JSON object"),
        ({"depth": 3}, r"`context` .* unknown keys \['depth'\]"),
        ({"num_neighbors": 0}, "`context`: `num_neighbors` must be an integer"),
        ({"num_neighbors": 65}, "`num_neighbors` must be"),
        ({"coarse_radius": -1}, "`coarse_radius` must be"),
        ({"coarse_radius": True}, "`coarse_radius` must be"),
        ({"embedding_dim": 2000}, "`embedding_dim` must be"),
        ({"coarse_dim": 8.0}, "`coarse_dim` must be"),
        ({"hidden_dims": []}, "`hidden_dims` must be a list of 1 to 8"),
        ({"hidden_dims": [0]}, "`hidden_dims` must be a list of 1 to 8"),
        (
            {"num_neighbors": 64, "hidden_dims": [8192] * 8},
            "`context` describes a model of up to .* parameters, more than",
        ),
    ],
)
def test_context_out_of_bounds(copy, context, message):
    config = json.loads((copy / "config.json").read_text())
    write_config(copy, {**config, "context": context})
    with pytest.raises(ValueError, match=message):
        keras_vqvae2.from_pretrained(copy)


@pytest.mark.parametrize("seed", range(20))
def test_no_context_model_holds_more_than_the_bound(seed):
    rng = np.random.default_rng(seed)
    strides = tuple(2 ** rng.integers(1, 4, rng.integers(1, 4)))
    vqvae = VQVAEConfig(
        strides=tuple(map(int, strides)),
        num_embeddings=int(rng.integers(1, 40)),
    )
    config = ContextConfig(
        num_neighbors=int(rng.integers(1, 10)),
        coarse_radius=int(rng.integers(0, 3)),
        embedding_dim=int(rng.integers(1, 9)),
        coarse_dim=int(rng.integers(1, 9)),
        hidden_dims=tuple(map(int, rng.integers(1, 9, rng.integers(1, 4)))),
    )
    shapes = array_shapes(config, vqvae.strides, vqvae.num_embeddings)
    arrays = {name: np.zeros(s, "float32") for name, s in shapes.items()}
    context = ContextModel(config, vqvae.strides, vqvae.num_embeddings, arrays)
    held = 0
    for level in context._levels:
        parts = list(vars(level).values())
        while parts:
            part = parts.pop()
            if isinstance(part, (list, tuple)):
                parts += part
            elif isinstance(part, np.ndarray):
                held += part.size
    assert held > 0
    assert held <= config.max_parameters(vqvae)


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
    def build(self, **_):
        raise AssertionError("built")

    monkeypatch.setattr(keras_vqvae2.HierarchicalVQVAE, "__init__", build)
    edit_config(copy, hidden_dim=8192, residual_dim=8192)
    with pytest.raises(ValueError, match=r"parameters, more than the"):
        keras_vqvae2.from_pretrained(copy)


def test_arguments_of_older_files_may_be_missing(model, copy):
    config = json.loads((copy / "config.json").read_text())
    del config["vqvae"]["dead_code_threshold"]
    write_config(copy, config)
    assert_same_weights(model, keras_vqvae2.from_pretrained(copy))


@pytest.mark.parametrize(
    ("schema", "model_class"),
    [
        (VQVAEConfig, keras_vqvae2.HierarchicalVQVAE),
        (PriorConfig, keras_vqvae2.PixelSNAILPrior),
    ],
)
def test_defaults_are_the_models(schema, model_class):
    parameters = inspect.signature(model_class).parameters
    names = list(inspect.signature(schema).parameters)
    defaults = {name: parameters[name].default for name in names}
    assert vars(schema(**defaults)) == defaults
    first, *others = names
    assert vars(schema(**{first: defaults[first]})) == defaults


def assert_is_bound(bound, count):
    assert count <= bound <= 4 * count


@pytest.mark.parametrize("name", list(PRESETS))
def test_bound_of_the_number_of_parameters_of_presets(name):
    preset = PRESETS[name]
    bound = VQVAEConfig(**preset.vqvae).max_parameters()
    assert_is_bound(bound, preset.num_parameters)


@pytest.mark.parametrize(
    "arguments",
    [
        {"strides": (2,)},
        {"strides": (16, 8)},
        {"strides": (2, 2, 4, 2), "num_channels": 1},
        {"num_residual_blocks": 0, "decay": None},
    ],
)
def test_bound_of_the_number_of_parameters(arguments):
    arguments = {"strides": (4, 2), **VQVAE_SIZES, **arguments}
    model = keras_vqvae2.HierarchicalVQVAE(**arguments)
    bound = VQVAEConfig(**arguments).max_parameters()
    assert_is_bound(bound, model.count_params())


def test_arguments_are_checked_where_they_are_stated():
    with pytest.raises(ValueError, match="^`hidden_dim` must be an even int"):
        VQVAEConfig(strides=(4, 2), hidden_dim=7)
    with pytest.raises(ValueError, match="None or an integer in 1..1048576"):
        PriorConfig(code_shapes=((2, 2),), num_classes=0)

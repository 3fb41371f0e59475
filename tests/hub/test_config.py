"""The schema of `config.json`."""

import inspect
import json

import pytest
from saved_model import assert_same_weights
from saved_model import edit_config
from saved_model import write_config
from tiny_models import VQVAE_SIZES

import keras_vqvae2
from keras_vqvae2.hub.config import PriorConfig
from keras_vqvae2.hub.config import VQVAEConfig
from keras_vqvae2.hub.presets import PRESETS


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
    with pytest.raises(ValueError, match="null or an integer in 1..1048576"):
        PriorConfig(code_shapes=((2, 2),), num_classes=0)

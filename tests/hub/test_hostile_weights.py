"""Weights and configs that nobody saved with this library."""

import json
import time

import numpy as np
import pytest
import safetensors.numpy
from tiny_models import PRIOR_SIZES
from tiny_models import make_prior
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights
from keras_vqvae2.arrays import parse_arrays
from keras_vqvae2.arrays import parse_json
from keras_vqvae2.arrays import read_header
from keras_vqvae2.cli import main
from keras_vqvae2.hub.config import check_config
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.hub.weight_types import num_parameters
from keras_vqvae2.hub.weight_types import prior_types
from keras_vqvae2.hub.weight_types import vqvae_types


def types_of(model):
    return {
        name: (str(weight.dtype), tuple(weight.shape))
        for name, weight in zip(
            weights.weight_names(model), model.weights, strict=True
        )
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"strides": (4, 2)},
        {"strides": (2,), "decay": None, "num_residual_blocks": 0},
        {"strides": (16, 4, 2), "num_channels": 1, "num_residual_blocks": 3},
        {"strides": (2, 8), "num_channels": 7, "hidden_dim": 6},
    ],
)
@pytest.mark.once
def test_types_of_autoencoders(changes):
    model = make_vqvae(**changes)
    types = vqvae_types(VQVAEConfig.from_model(model.get_config()))
    assert types == types_of(model)
    assert num_parameters(types) == model.count_params()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"code_shapes": ((3, 4),), "num_classes": None, "kernel_size": 3},
        {
            "code_shapes": ((1, 2), (8, 16), (16, 32)),
            "num_blocks": 1,
            "num_attention_layers": 0,
            "num_conditioning_blocks": 2,
            "num_output_blocks": 2,
            "kernel_size": 7,
        },
    ],
)
@pytest.mark.once
def test_types_of_priors(changes):
    prior = make_prior(**changes)
    types = prior_types(PriorConfig.from_model(prior.get_config()))
    assert types == types_of(prior)
    assert num_parameters(types) == prior.count_params()


@pytest.fixture
def unbuilt(monkeypatch):
    """Nothing is built."""

    def build(self, *args, **kwargs):
        raise AssertionError("built")

    for model_class in (
        keras_vqvae2.HierarchicalVQVAE,
        keras_vqvae2.PixelSNAILPrior,
    ):
        monkeypatch.setattr(model_class, "__init__", build)


def change_config(folder, change):
    path = folder / "config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    sign(folder)


def sign(folder):
    """Hashes that fit whatever lies there."""
    names = [p.name for p in folder.iterdir() if p.suffix != ".md"]
    files.write_sha256sums(folder, sorted(set(names) - {"SHA256SUMS"}))


def test_large_configs_of_small_files_are_refused_unbuilt(copy, unbuilt):
    def change(config):
        config["vqvae"].update(hidden_dim=1024, residual_dim=256)

    change_config(copy, change)
    with pytest.raises(ValueError, match="model.safetensors: .* must be"):
        keras_vqvae2.from_pretrained(copy)


def test_large_priors_of_small_files_are_refused_unbuilt(
    generator, tmp_path, unbuilt
):
    folder = tmp_path / "generator"
    generator.save_pretrained(folder)

    def change(config):
        config["priors"]["top"].update(num_blocks=256, hidden_dim=1024)

    change_config(folder, change)
    with pytest.raises(ValueError, match="prior_top.safetensors: its arrays"):
        keras_vqvae2.PixelSNAILPrior.from_pretrained(folder, "top")


def test_info_builds_nothing(generator, tmp_path, unbuilt, capsys):
    generator.save_pretrained(tmp_path / "generator")
    assert main(["info", str(tmp_path / "generator")]) == 0
    output = capsys.readouterr().out
    assert f"parameters: {generator.vqvae.count_params()}\n" in output
    for level, prior in generator.priors.items():
        assert f"prior of {level}: " in output
        assert f", {prior.count_params()} parameters, 3 classes" in output


def entry(**changes):
    whole = {"dtype": "F32", "shape": [6], "data_offsets": [0, 24]}
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        *(
            (f'{{"a":{entry(dtype=code)}}}', f"dtype '{code}'.*not know")
            for code in ("F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "C64", "")
        ),
        (f'{{"a":{entry()},"a":{entry()}}}', "the key 'a' twice"),
        (f'{{"a":{entry(dtype=3)}}}', "dtype 3"),
        (f'{{"a":{entry(shape=[7])}}}', "'a' is not described"),
        (f'{{"a":{entry(shape=[-6])}}}', "'a' is not described"),
        (f'{{"a":{entry(shape=[True])}}}', "'a' is not described"),
        (f'{{"a":{entry(shape=6)}}}', "'a' is not described"),
        (f'{{"a":{entry(shape=[1] * 33)}}}', "'a' is not described"),
        (f'{{"a":{entry(shape=[2**62, 2**62])}}}', "'a' is not described"),
        (f'{{"a":{entry(data_offsets=[0])}}}', "'a' is not described"),
        (f'{{"a":{entry(data_offsets=[8, 32])}}}', "overlap or leave gaps"),
        (f'{{"a":{entry(extra=1)}}}', "'a' is not described"),
        ('{"a":[]}', "'a' is not described"),
        (f'{{"a":{entry()},"b":{entry()}}}', "overlap or leave gaps"),
        (f'{{"a":{entry()},"__metadata__":[]}}', "metadata"),
        (f'{{"a":{entry()},"__metadata__":{{"x":1}}}}', "metadata"),
        (f'{{"":{entry()}}}', "the name ''"),
        (f'{{"{"x" * 10**6}":{entry()}}}', "the name 'xxx"),
        (f'{{"\\u001b[2J":{entry()}}}', "the name"),
        ("[" * 10_000 + "]" * 10_000, "nested too deep"),
        ("[" * 100 + "]" * 100, "nested too deep"),
        ("[]", "no header"),
        ("", "whole safetensors"),
        ("{}", "24 bytes of arrays instead of 0"),
        ("\xff", "whole safetensors"),
    ],
)
@pytest.mark.once
def test_headers(tmp_path, header, message):
    header = header.encode("latin-1")
    data = len(header).to_bytes(8, "little") + header + bytes(24)
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    for read in (lambda: read_header(path), lambda: parse_arrays(data)):
        with pytest.raises(ValueError, match=message) as caught:
            read()
        assert len(str(caught.value)) < 300


@pytest.mark.once
def test_headers_that_are_too_long(tmp_path):
    path = tmp_path / "a.safetensors"
    with open(path, "wb") as file:
        file.write((2**30).to_bytes(8, "little") + b"{")
        file.truncate(2**30 + 8)
    with pytest.raises(ValueError, match="its header has 1073741824 bytes"):
        read_header(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoder_top/conv/kernel", np.nan),
        ("encoder_top/conv/bias", np.inf),
        ("decoder_bottom/conv/bias", -np.inf),
        ("projection_top/kernel", 1e38),
        ("quantizer_top/embeddings", -1e13),
        ("quantizer_top/counts", -1),
        ("quantizer_top/initialized", -1),
    ],
)
def test_values_that_no_training_gives(copy, name, value):
    path = copy / "model.safetensors"
    arrays = safetensors.numpy.load_file(path)
    arrays[name].flat[-1] = value
    safetensors.numpy.save_file(arrays, path)
    sign(copy)
    for load in (
        keras_vqvae2.from_pretrained,
        keras_vqvae2.codec.CodeModel.from_pretrained,
    ):
        with pytest.raises(ValueError, match=f"{name} has values that are not"):
            load(copy)


def test_dtypes_of_half_precision_do_not_blame_the_file(copy):
    for dtype in ("float16", "bfloat16"):
        with pytest.raises(ValueError, match="^Saved weights are float32"):
            keras_vqvae2.from_pretrained(copy, dtype=dtype)
    assert keras_vqvae2.from_pretrained(copy, dtype="mixed_float16")


def config_with(top=None, bottom=None, **changes):
    priors = {
        "top": {"code_shapes": [[2, 3]], "num_embeddings": 16},
        "bottom": {"code_shapes": [[2, 3], [4, 6]], "num_embeddings": 16},
    }
    priors["top"].update(top or {})
    priors["bottom"].update(bottom or {})
    return {
        "format": "keras-vqvae2",
        "format_version": 1,
        "model": "vqvae2",
        "name": "tiny",
        "vqvae": {"strides": [4, 2], "num_embeddings": 16},
        "priors": priors,
        **changes,
    }


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (config_with({"num_embeddings": 17}), "codebooks, 16. Received: 17"),
        (config_with({"num_embeddings": 15}), "codebooks, 16. Received: 15"),
        (
            config_with(bottom={"code_shapes": [[2, 3], [8, 12]]}),
            r"\(4, 2\): a map of 2x3 codes goes with one of 4x6, not 8x12",
        ),
        (config_with(bottom={"code_shapes": [[2, 3], [4, 7]]}), "not 4x7"),
        (config_with(bottom={"code_shapes": [[2, 3], [2, 3]]}), "not 2x3"),
        (config_with({"num_heads": 3}), "multiple of `num_heads`"),
        (config_with({"num_attention_layers": 21}), "as many blocks"),
        (config_with(format_version=True), "format version True"),
        (config_with(format_version=1.0), "format version 1.0"),
    ],
)
@pytest.mark.once
def test_configs_that_contradict_themselves(config, message):
    assert check_config(config_with(), "config.json").priors
    with pytest.raises(ValueError, match=message):
        check_config(config, "config.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 0', '"seed": 0, "seed": 1'),
        ('"name": "tiny"', '"name": "other", "name": "tiny"'),
    ],
)
def test_keys_of_a_config_that_are_there_twice(copy, old, new):
    path = copy / "config.json"
    path.write_text(path.read_text().replace(old, new))
    sign(copy)
    with pytest.raises(ValueError, match="has the key '(seed|name)' twice"):
        keras_vqvae2.from_pretrained(copy)


@pytest.mark.once
def test_lines_of_sha256sums_that_are_there_twice(tmp_path):
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{'0' * 64}  a\n{'1' * 64}  a\n")
    with pytest.raises(ValueError, match="lists 'a' twice"):
        files.read_sha256sums(path)


def test_a_prior_that_cannot_be_saved_is_refused_before_training(tmp_path):
    """Not when the training has ended."""
    from keras_vqvae2.recipes import train_prior

    model = keras_vqvae2.VQVAE2(make_vqvae())
    prior = keras_vqvae2.PixelSNAILPrior(
        ((2, 2),),
        num_attention_layers=0,
        **{**PRIOR_SIZES, "num_embeddings": 17},
    )
    with pytest.raises(ValueError, match="codebooks, 16. Received: 17"):
        train_prior(model, "top", prior, tmp_path / "codes", tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.once
def test_a_key_twice_among_many_is_found_at_once():
    keys = [f'"{i}":0' for i in range(50_000)]
    start = time.monotonic()
    with pytest.raises(ValueError, match="the key '49999' twice"):
        parse_json("{" + ",".join([*keys, keys[-1]]) + "}")
    assert time.monotonic() - start < 5

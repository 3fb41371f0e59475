"""Imported checkpoints beside PyTorch's own networks."""

import argparse
import pickle
import sys

import keras
import numpy as np
import pytest

import keras_vqvae2
from keras_vqvae2 import weights
from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image
from keras_vqvae2.pytorch_import import importer
from keras_vqvae2.recipes._codes import weights_digest

torch = pytest.importorskip("torch")

import safetensors.torch  # noqa: E402
from torch_vqvae import TorchVQVAE  # noqa: E402


def make_images(channels=3, size=(32, 48)):
    rng = np.random.default_rng(0)
    # Coarse patterns, so that codes differ from place to place.
    small = rng.integers(0, 256, (2, size[0] // 4, size[1] // 4, channels))
    return small.repeat(4, 1).repeat(4, 2).astype("uint8")


def assert_same(network, model, images):
    codes, pixels = network(images)
    call = compile_function(model.vqvae, model.vqvae)
    reconstructions, ours = call(keras.ops.convert_to_tensor(images))
    for expected, found in zip(codes, ours, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(found), expected
        )
        assert len(np.unique(expected)) > 3
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(reconstructions),
        pixels.numpy(),
        rtol=0,
        atol=0.01,
    )
    assert pixels.std() > 5


@pytest.mark.parametrize(
    ("inplace", "strides", "sizes"),
    [
        (False, (4, 2), (3, 8, 6, 4, 16, 2)),
        (True, (2, 2), (1, 10, 3, 5, 12, 3)),
    ],
)
def test_codes_and_pixels(inplace, strides, sizes):
    network = TorchVQVAE(inplace, strides, sizes)
    model = keras_vqvae2.from_pytorch(network.state_dict(), skip_relu=inplace)
    vqvae = model.vqvae
    assert vqvae.strides == strides and vqvae.skip_relu == inplace
    assert sizes == (
        vqvae.num_channels,
        vqvae.hidden_dim,
        vqvae.residual_dim,
        vqvae.embedding_dim,
        vqvae.num_embeddings,
        vqvae.num_residual_blocks,
    )
    images = make_images(sizes[0])
    assert_same(network, model, images)
    counts = weights.to_numpy(vqvae.quantizers[1].counts)
    np.testing.assert_array_equal(counts, network.quantize_b.cluster_size)
    sums = weights.to_numpy(vqvae.quantizers[0].sums)
    np.testing.assert_array_equal(sums, network.quantize_t.embed_avg.T)
    assert weights.to_numpy(vqvae.quantizers[0].initialized) == 1


@pytest.mark.once
def test_the_skip_matters():
    network = TorchVQVAE(True)
    model = keras_vqvae2.from_pytorch(network.state_dict(), skip_relu=False)
    with pytest.raises(AssertionError):
        assert_same(network, model, make_images())
    # Nor does one read the code files of the other.
    right = keras_vqvae2.from_pytorch(network.state_dict(), skip_relu=True)
    files = right.compress(make_images()[:1])
    with pytest.raises(ValueError, match="fingerprint"):
        model.decompress(files)
    assert weights_digest(model) != weights_digest(right)


@pytest.mark.once
def test_unused_codes_far_away():
    network = TorchVQVAE(True)
    for quantizer in (network.quantize_t, network.quantize_b):
        quantizer.embed[:, ::5] *= 1e5
        quantizer.cluster_size[::5] = 1e-30
    model = keras_vqvae2.from_pytorch(network.state_dict(), skip_relu=True)
    assert_same(network, model, make_images())


def save(state, path, how):
    if how == "safetensors":
        safetensors.torch.save_file(state, path)
    elif how == "wrapped":
        torch.save({f"module.{name}": x for name, x in state.items()}, path)
    else:
        # Before PyTorch 1.6 no file was a zip archive.
        zipped = how == "zipped"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)


@pytest.mark.once
@pytest.mark.parametrize(
    ("how", "dtype"),
    [
        ("zipped", "float32"),
        ("zipped", "bfloat16"),
        ("of 2020", "float32"),
        ("wrapped", "float16"),
        ("safetensors", "float32"),
        ("safetensors", "bfloat16"),
        ("arrays", "float64"),
    ],
)
def test_files(how, dtype, tmp_path):
    state = TorchVQVAE(True).state_dict()
    expected = keras_vqvae2.from_pytorch(state, skip_relu=True).vqvae
    path = tmp_path / ("a.safetensors" if how == "safetensors" else "a.pt")
    state = {n: x.to(getattr(torch, dtype)) for n, x in state.items()}
    if how == "arrays":
        checkpoint = {name: x.numpy() for name, x in state.items()}
    else:
        save(state, path, how)
        checkpoint = path if how == "zipped" else str(path)
    model = keras_vqvae2.from_pytorch(checkpoint, skip_relu=True)
    tolerance = {"bfloat16": 2**-8, "float16": 2**-10}.get(dtype, 0)
    for ours, theirs in zip(model.vqvae.weights, expected.weights, strict=True):
        np.testing.assert_allclose(
            weights.to_numpy(ours),
            weights.to_numpy(theirs),
            rtol=tolerance,
            atol=tolerance / 2**10,
        )


def small_state():
    return dict(TorchVQVAE(False).state_dict())


def without(name):
    def change(state):
        del state[name]

    return change


def put(name, tensor):
    return lambda state: state.update({name: tensor})


VVVM23 = "vvvm23/vqvae-2, whose network cannot be written .* ReLU"


@pytest.mark.once
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            without("upsample_t.bias"),
            r"missing \['upsample_t.bias'\], unk.* 0 ",
        ),
        (without("enc_t.blocks.0.weight"), "`strides` must be"),
        (without("quantize_conv_t.weight"), "quantize_conv_t.* Received: none"),
        (without("quantize_t.embed"), "unknown network.*'dec.blocks.0.bias'"),
        (without("dec_t.blocks.2.conv.3.bias"), "missing .*blocks.2.conv.3"),
        (
            put("enc_b.blocks.9.conv.1.weight", torch.ones(6, 8, 3, 3)),
            r"'num_residual_blocks': 3.* missing .* \(22 and 7 in all\)",
        ),
        (put("long\x1b" * 999, torch.ones(2)), r"unknown \['long\\x1blong"),
        (put("extra", torch.ones(2)), r"unknown \['extra'\] \(0 and 1 in all"),
        (put("dec.blocks.0.bias", torch.ones(9)), r"shape \(8,\).*: \(9,\)"),
        (
            put("enc_b.blocks.0.weight", torch.ones(4, 3, 3, 3)),
            r"enc_b.blocks.0.weight must have shape \(4, 3, 4, 4\)",
        ),
        (put("enc_b.blocks.0.weight", torch.ones(4)), "of 4 axes.*: \\(4,\\)"),
        (put("quantize_t.embed", torch.ones(4, 0)), "`num_embeddings` must"),
        (put("quantize_t.embed", torch.ones(1).expand(8192, 2**20)), "paramet"),
        (
            put("quantize_b.embed_avg", torch.full((4, 16), np.nan)),
            "quantize_b.embed_avg must be .* finite .* no numbers in",
        ),
        (put("dec.blocks.0.bias", torch.full((8,), -2e12)), "numbers in .*1e"),
        (put("dec.blocks.0.bias", torch.ones(8).int()), "of type int32"),
        (put("dec.blocks.0.bias", torch.ones(8) * 1j), "of type complex64"),
        (put("dec.blocks.0.bias", torch.ones(8).to_sparse()), "dense tensor"),
        (put("dec.blocks.0.bias", torch.ones(8, device="meta")), "a dense ten"),
        (put("quantize_b.cluster_size", -torch.ones(16)), "size is negative"),
        (
            put("epoch", 560),
            r"tensors by name alone.*\['epoch'\].*\.state_dict",
        ),
        (put(7, torch.ones(1)), r"tensors by name alone.*\[7\]"),
        (put("codebooks.0.conv_in.bias", torch.ones(1)), VVVM23),
        (put("vqvaes.0.codebook.embeddings", torch.ones(1)), "vvvm23.* angle"),
        (put("horizontal.conv.conv.bias", torch.ones(1)), "a prior of rosinal"),
        (put("horz_conv.conv.bias", torch.ones(1)), "a prior of vvvm23"),
    ],
)
def test_other_state_dicts_are_refused(change, message, monkeypatch):
    state = small_state()
    change(state)

    def build(self, *_, **__):
        raise AssertionError("built")

    monkeypatch.setattr(keras_vqvae2.HierarchicalVQVAE, "__init__", build)
    with pytest.raises(ValueError, match=message) as caught:
        keras_vqvae2.from_pytorch(state)
    assert str(caught.value).startswith("The state dict")
    assert len(str(caught.value)) < 600


class Runs:
    """Unpickled, it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.once
def test_nothing_in_a_file_is_run(tmp_path):
    path, written = tmp_path / "a.pt", tmp_path / "written"
    for content in (
        Runs(written),
        {**small_state(), "a": Runs(written)},
        TorchVQVAE(False),
        # As rosinality's priors are saved.
        {"model": small_state(), "args": argparse.Namespace(lr=1)},
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match="not a file of tensors") as caught:
            keras_vqvae2.from_pytorch(path)
        assert "weights_only" not in str(caught.value)
    path.write_bytes(pickle.dumps(Runs(written)))
    with pytest.raises(ValueError, match="not a file of tensors"):
        keras_vqvae2.from_pytorch(path)
    assert not written.exists()


@pytest.mark.once
@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
@pytest.mark.parametrize("size", [0, 1, 40, -1, -400])
def test_damaged_files(name, size, tmp_path):
    path = tmp_path / name
    save(small_state(), path, name.partition(".")[2])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="(damaged|not a whole)"):
        keras_vqvae2.from_pytorch(path)


@pytest.mark.once
def test_other_checkpoints(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    eighths = {"a": torch.ones(2).to(torch.float8_e4m3fn)}
    safetensors.torch.save_file(eighths, path)
    with pytest.raises(ValueError, match="not a whole safetensors file of fl"):
        keras_vqvae2.from_pytorch(path)
    with pytest.raises(FileNotFoundError, match="There is no file .*none.pt"):
        keras_vqvae2.from_pytorch(tmp_path / "none.pt")
    with pytest.raises(TypeError, match="`checkpoint` must be .*: Linear"):
        keras_vqvae2.from_pytorch(torch.nn.Linear(1, 1))
    path = tmp_path / "a.pt"
    torch.save([torch.ones(1)], path)
    with pytest.raises(ValueError, match="must hold a state dict.*: list"):
        keras_vqvae2.from_pytorch(path)
    with pytest.raises(ValueError, match="must hold tensors"):
        keras_vqvae2.from_pytorch({})
    with pytest.raises(ValueError, match="`skip_relu` must be True or False"):
        keras_vqvae2.from_pytorch(path, skip_relu="yes")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pip install torch.*safetensors"):
        keras_vqvae2.from_pytorch(path)


@pytest.mark.once
def test_a_photograph_tells_the_skip(monkeypatch):
    # A quarter of its size is enough; the columns before are cut off.
    def load_small(path):
        small = load_image(path)[:256:4, 128:384:4]
        return np.pad(small, ((0, 0), (128, 0), (0, 0)))

    monkeypatch.setattr(importer, "load_image", load_small)
    vqvae = keras_vqvae2.from_pretrained("vqvae2-cifar10").vqvae
    config = {**vqvae.get_config(), "skip_relu": True, "name": "other"}
    other = keras_vqvae2.HierarchicalVQVAE.from_config(config)
    other.set_weights(vqvae.get_weights())
    assert importer._better(vqvae, other) is vqvae
    assert importer._better(other, vqvae) is vqvae


@pytest.mark.once
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_a_photograph_does_not_tell(channels):
    sizes = (channels, 8, 6, 4, 16, 2)
    state = TorchVQVAE(False, sizes=sizes).state_dict()
    for name, tensor in state.items():
        tensor.mul_(0.01 if ".conv." in name else 1)
    with pytest.raises(ValueError, match="photograph.*say so by `skip_relu`"):
        keras_vqvae2.from_pytorch(state)


@pytest.mark.once
def test_without_blocks_there_is_no_skip():
    network = TorchVQVAE(True, sizes=(3, 8, 6, 4, 16, 0))
    model = keras_vqvae2.from_pytorch(network.state_dict())
    assert not model.vqvae.skip_relu
    assert_same(network, model, make_images())


@pytest.mark.once
def test_an_untrained_codebook_starts_as_ours():
    state = small_state()
    state["quantize_t.cluster_size"] = torch.zeros(16)
    state["quantize_t.embed_avg"] = torch.zeros(4, 16)
    model = keras_vqvae2.from_pytorch(state, skip_relu=False)
    top = model.vqvae.quantizers[0]
    np.testing.assert_array_equal(weights.to_numpy(top.counts), np.ones(16))
    np.testing.assert_array_equal(
        weights.to_numpy(top.sums), weights.to_numpy(top.embeddings)
    )


@pytest.mark.once
def test_command(tmp_path, capsys):
    network = TorchVQVAE(True)
    checkpoint, folder = tmp_path / "vqvae_560.pt", tmp_path / "mine"
    torch.save(network.state_dict(), checkpoint)
    argv = ["import", str(checkpoint), "-o", str(folder)]
    assert main([*argv, "--skip-relu"]) == 0
    assert "skip_relu: True" in capsys.readouterr().out
    model = keras_vqvae2.from_pretrained(folder)
    assert model.name == "mine" and model.vqvae.skip_relu
    assert_same(network, model, make_images())

    def error(*argv):
        assert main([str(word) for word in argv]) == 2
        text = capsys.readouterr().err
        assert text.startswith("keras-vqvae2: error: ")
        assert text.count("\n") == 1
        return text

    checkpoint.write_bytes(b"nothing")
    # Said before the checkpoint is read.
    assert "pass --overwrite to replace" in error(*argv)
    assert "vqvae_560.pt is not a file of tensors" in error(
        *argv, "--overwrite"
    )
    assert keras_vqvae2.from_pretrained(folder).vqvae.skip_relu

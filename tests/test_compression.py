import gc
import json
import weakref

import keras
import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import compression
from keras_vqvae2.codec import ContextModel
from keras_vqvae2.codec import read_codes
from keras_vqvae2.codec import read_header
from keras_vqvae2.codec.context_model import array_shapes
from keras_vqvae2.codec.range_coder import TOTAL
from keras_vqvae2.hub.context_config import ContextConfig


def make_context(strides=(4, 2), scale=1.0):
    config = ContextConfig(
        num_neighbors=5, embedding_dim=3, coarse_dim=6, hidden_dims=(8,)
    )
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.normal(size=shape) * scale).astype("float16")
        for name, shape in array_shapes(config, strides, 16).items()
    }
    return ContextModel(config, strides, 16, arrays)


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.fixture(scope="module")
def model():
    vqvae = make_vqvae(seed=0)
    for quantizer in vqvae.quantizers:
        quantizer.counts.assign(np.arange(1.0, 17))
    return keras_vqvae2.VQVAE2(vqvae, "tiny", context=make_context())


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    sizes = ((37, 50), (37, 50), (16, 8), (64, 64))
    return [rng.integers(0, 256, (*size, 3), "uint8") for size in sizes]


@pytest.mark.parametrize("method", ["raw", "histogram", "context", None])
def test_any_size_there_and_back(model, images, method):
    files = model.compress(images, method, batch_size=3)
    decoded = model.decompress(files)
    for image, data, result in zip(images, files, decoded, strict=True):
        np.testing.assert_array_equal(result, model.reconstruct(image[None])[0])
        assert method in (None, read_header(data).method)
    (coarse,) = model.decompress(files[:1], levels=1)
    np.testing.assert_array_equal(
        coarse, model.reconstruct(images[0][None], levels=1)[0]
    )


def test_a_batch(model, images):
    batch = np.stack(images[:2])
    assert model.compress(batch) == model.compress(images[:2])
    floats = batch.astype("float32")
    assert model.compress(floats) == model.compress(batch)


def test_pictures_are_let_go_before_their_codes_are_written(
    model, images, monkeypatch
):
    """They may be as large as all else: the last, and one that is alone."""
    pictures = []

    def load(image):
        image = image.copy()
        pictures.append(weakref.ref(image))
        return image

    def write(*args, **kwargs):
        gc.collect()
        held.append(sum(picture() is not None for picture in pictures))
        return write_codes(*args, **kwargs)

    held = []
    write_codes = compression.write_codes
    monkeypatch.setattr(compression, "write_codes", write)
    assert len(list(model.iterate_compress(map(load, images), "raw"))) == 4
    # The third and the fourth are loaded to see that they differ in size.
    assert held == [1, 1, 1, 0]


def test_a_file_from_disk(model, images, tmp_path):
    (data,) = model.compress(images[:1])
    (tmp_path / "a.codes").write_bytes(data)
    (image,) = model.decompress([tmp_path / "a.codes"])
    np.testing.assert_array_equal(image, model.decompress([data])[0])


def test_saved_and_loaded(model, images, tmp_path):
    model.save_pretrained(tmp_path / "tiny")
    files = model.compress(images)
    loaded = keras_vqvae2.from_pretrained(tmp_path / "tiny")
    for a, b in zip(
        model.decompress(files), loaded.decompress(files), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    codes = read_codes(files[0], tmp_path / "tiny")[0]
    np.testing.assert_array_equal(
        codes[1], read_codes(files[0], model.code_model())[0][1]
    )
    config = json.loads((tmp_path / "tiny" / "config.json").read_text())
    assert config["context"]["hidden_dims"] == [8]
    assert "context.safetensors" in (tmp_path / "tiny/SHA256SUMS").read_text()


def test_a_damaged_context_model(model, tmp_path):
    folder = tmp_path / "tiny"
    model.save_pretrained(folder)
    path = folder / "context.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    loaded = keras_vqvae2.from_pretrained(folder)  # codes need none
    with pytest.raises(ValueError, match="context.safetensors is damaged"):
        loaded.compress(np.zeros((1, 8, 8, 3), "uint8"))


def test_weights_that_moved_on_are_other_weights(images):
    vqvae = make_vqvae(seed=0)
    model = keras_vqvae2.VQVAE2(vqvae, "tiny")
    files = model.compress(images[:1])
    kernel = vqvae.decoders[-1].weights[0]
    kernel.assign(kernel + 1e-3)
    with pytest.raises(ValueError, match="other weights"):
        model.decompress(files)


def test_rate_weight(model, images):
    batch = np.stack([images[3]] * 2)
    nearest = model.encode(batch)
    previous = None
    for rate_weight in (1e-6, 0.1, 1.0, 10.0):
        codes = model.encode(batch, rate_weight=rate_weight)
        np.testing.assert_array_equal(codes[1][0], codes[1][1])
        if rate_weight == 1e-6:
            for a, b in zip(nearest, codes, strict=True):
                np.testing.assert_array_equal(a, b)
        (data, _) = model.compress(
            batch, method="context", rate_weight=rate_weight
        )
        np.testing.assert_array_equal(
            read_codes(data, model.code_model())[0][1], codes[1][0]
        )
        assert previous is None or len(data) <= previous
        previous = len(data)
    (large, _) = model.compress(batch, method="context")
    assert previous < 0.7 * len(large)


def test_rate_weight_by_hand(images):
    """The histogram's bits depend on nothing: each code by itself."""
    vqvae = make_vqvae(strides=(4,), seed=0)
    counts = np.arange(1.0, 17) ** 2
    vqvae.quantizers[0].counts.assign(counts)
    model = keras_vqvae2.VQVAE2(vqvae, "tiny")
    image = images[3][None]
    (codes,) = model.encode(image, rate_weight=0.5)
    vectors = _numpy(vqvae.vectors(image))[0].astype("float64")
    codebook = _numpy(vqvae.quantizers[0].embeddings)
    distances = ((vectors[:, :, None] - codebook) ** 2).sum(-1)
    bits = -np.log2((model.code_model().histograms[0] + 1) / TOTAL)
    cost = distances + 0.5 * distances.min(-1).mean() * bits
    np.testing.assert_array_equal(codes[0], cost.argmin(-1))
    np.testing.assert_allclose(bits, -np.log2(counts / counts.sum()), atol=1e-4)


def test_vectors_are_those_that_encode_quantizes(model, images):
    image = images[3][None]
    codes = model.encode(image)
    for level, quantizer in enumerate(model.vqvae.quantizers):
        vectors = model.vqvae.vectors(image, codes[:level])
        np.testing.assert_array_equal(
            _numpy(quantizer(vectors)[1]), codes[level]
        )


@pytest.mark.parametrize("rate_weight", [-1, float("nan"), float("inf"), "x"])
def test_bad_rate_weight(model, images, rate_weight):
    for function in (model.encode, model.compress):
        with pytest.raises(ValueError, match="`rate_weight` must be a number"):
            function(np.stack(images[3:]), rate_weight=rate_weight)


def test_bad_input(model, images):
    with pytest.raises(ValueError, match="must have shape"):
        model.compress([images[0][:, :, 0]])
    with pytest.raises(ValueError, match="raw, histogram, context"):
        model.compress(images, "zip")
    with pytest.raises(ValueError, match="is not a code file"):
        model.decompress([b"no code file"])
    unused = make_vqvae()
    unused.quantizers[0].counts.assign(np.zeros(16))
    plain = keras_vqvae2.VQVAE2(unused)
    with pytest.raises(ValueError, match="no probabilities of codes"):
        plain.compress(images, rate_weight=1)
    assert read_header(plain.compress(images)[0]).method == "raw"


def test_a_single_file_is_not_several(model, tmp_path):
    for files in (b"data", "a.codes", tmp_path / "a.codes"):
        with pytest.raises(TypeError, match=r"`\[file\]`"):
            model.decompress(files)


def test_no_stale_context_model(model, tmp_path):
    folder = tmp_path / "tiny"
    model.save_pretrained(folder)
    (folder / "notes.txt").write_text("kept")
    keras_vqvae2.VQVAE2(model.vqvae).save_pretrained(folder, overwrite=True)
    assert not (folder / "context.safetensors").exists()
    assert (folder / "notes.txt").exists()


def test_a_name_that_is_none(model, images):
    odd = keras_vqvae2.VQVAE2(model.vqvae, "my model")
    assert read_header(odd.compress(images)[0]).model == "model"


@pytest.mark.parametrize(
    ("name", "size"), [("vqvae2-imagenet256", 192), ("vqvae2-cifar10", 32)]
)
def test_code_files_of_bundled_models(name, size):
    model = keras_vqvae2.from_pretrained(name)
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photo = Image.open(file).convert("RGB").reduce(384 // size)
    image = np.asarray(photo)[:size, :size]
    files = {
        method: model.compress([image], method)[0]
        for method in ("raw", "histogram", "context")
    }
    sizes = {method: len(data) for method, data in files.items()}
    if name == "vqvae2-imagenet256":  # the other never saw such an image
        assert sizes["context"] < 0.75 * sizes["raw"]
        assert sizes["context"] < sizes["histogram"] < sizes["raw"]
    assert len(model.compress([image])[0]) == min(sizes.values())
    for data in files.values():
        (decoded,) = model.decompress([data])
        np.testing.assert_array_equal(
            decoded, model.reconstruct(image[None])[0]
        )

"""Parsers of files from anywhere: an error, or what saves again to the same.

`FUZZ_EXAMPLES=20000 pytest tests/fuzz` is a long run, with new examples.
"""

import io
import json
import struct
import zlib

import hypothesis
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st
from mutations import SETTINGS
from mutations import attempt
from mutations import changed_bytes
from mutations import changed_json
from PIL import Image

from keras_vqvae2 import files
from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.arrays import parse_arrays
from keras_vqvae2.arrays import read_arrays
from keras_vqvae2.arrays import read_header
from keras_vqvae2.codec import CodeModel
from keras_vqvae2.codec import read_codes
from keras_vqvae2.codec import read_header as read_code_header
from keras_vqvae2.codec import write_codes
from keras_vqvae2.data import load_image
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.data import write_code_shards
from keras_vqvae2.hub.config import read_config

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def fuzz(strategy):
    """A test of many examples of a strategy."""

    def decorate(test):
        return SETTINGS(hypothesis.given(data=strategy)(test))

    return decorate


CONFIG = {
    "format": "keras-vqvae2",
    "format_version": 1,
    "model": "vqvae2",
    "name": "tiny",
    "vqvae": {"strides": [4, 2], "num_embeddings": 16, "decay": 0.5},
    "priors": {
        "top": {"code_shapes": [[2, 3]], "num_embeddings": 16},
        "bottom": {
            "code_shapes": [[2, 3], [4, 6]],
            "num_embeddings": 16,
            "num_classes": 3,
        },
    },
    "context": {"num_neighbors": 3, "hidden_dims": [8, 5]},
}


@fuzz(changed_json(CONFIG))
def test_config(folder, data):
    path = folder / "config.json"
    path.write_bytes(data)
    config = attempt(lambda: read_config(path))
    if config is None:
        return
    path.write_text(config.to_json(), "utf-8")
    again = read_config(path)
    assert again.to_json() == config.to_json()


ARRAYS = {
    "a/kernel": np.arange(6, dtype="float32").reshape(2, 3),
    "a/bias": np.zeros((), "float32"),
    "b": np.arange(3, dtype="int64"),
    "c": np.zeros((0, 2), "bool"),
}
SAFETENSORS = safetensors.numpy.save(ARRAYS, metadata={"x": "y"})
LENGTH = struct.unpack("<Q", SAFETENSORS[:8])[0]
HEADER = json.loads(SAFETENSORS[8 : 8 + LENGTH])


def with_header(header):
    """The file with another header, whose length fits."""
    rest = SAFETENSORS[8 + LENGTH :]
    return struct.pack("<Q", len(header)) + header + rest


@fuzz(
    st.one_of(
        changed_bytes(SAFETENSORS),
        changed_bytes(SAFETENSORS[8 : 8 + LENGTH]).map(with_header),
        changed_json(HEADER).map(with_header),
        st.binary(max_size=64),
    )
)
def test_safetensors(folder, data):
    path = folder / "a.safetensors"
    path.write_bytes(data)
    types = attempt(lambda: read_header(path))
    arrays = attempt(lambda: parse_arrays(data))
    assert (types is None) == (arrays is None)
    if arrays is None:
        return
    assert types[0] == {
        name: (str(array.dtype), array.shape) for name, array in arrays.items()
    }
    again, _ = read_arrays(path)
    assert arrays_digest(again) == arrays_digest(arrays)
    again = parse_arrays(safetensors.numpy.save(arrays))
    assert arrays_digest(again) == arrays_digest(arrays)


@fuzz(
    st.one_of(
        changed_bytes(f"{'0' * 64}  a\n{'1' * 64} *b c\n".encode()),
        st.binary(max_size=300),
        st.just(b"\n" * 5000),
    )
)
def test_sha256sums(folder, data):
    path = folder / "SHA256SUMS"
    path.write_bytes(data)
    sums = attempt(lambda: files.read_sha256sums(path))
    if sums is None:
        return
    text = "".join(f"{digest}  {name}\n" for name, digest in sums.items())
    path.write_text(text, "utf-8")
    assert files.read_sha256sums(path) == sums


@pytest.fixture(scope="module")
def codes(tmp_path_factory):
    """A folder of shards, and the bytes of its index."""
    folder = tmp_path_factory.mktemp("codes")
    top = np.arange(10).reshape(5, 2, 1)
    bottom = np.arange(40).reshape(5, 4, 2)
    write_code_shards(
        lambda skipped: [((top, bottom), np.arange(5))],
        folder,
        num_embeddings=40,
        level_names=("top", "bottom"),
        shard_size=3,
        source={"weights": "ab"},
    )
    return (
        folder,
        (folder / "index.json").read_bytes(),
        read_code_shards(folder),
    )


INDEX = {
    "format": "keras-vqvae2 code shards 2",
    "num_embeddings": 40,
    "levels": ["top", "bottom"],
    "shard_size": 3,
    "source": {"weights": "ab"},
    "num_images": 5,
    "num_shards": 2,
    "sha256": [0, 1],
}


@fuzz(changed_json(INDEX))
def test_index_of_shards(codes, data):
    folder, whole, (arrays, _, index) = codes
    path = folder / "index.json"
    digests = json.dumps(index["sha256"]).encode()
    path.write_bytes(data.replace(b"[0, 1]", digests))
    read = attempt(lambda: read_code_shards(folder))
    path.write_bytes(whole)
    if read is not None:
        assert arrays_digest(read[0]) == arrays_digest(arrays)


@fuzz(st.data())
def test_shards(codes, data):
    folder, _, (arrays, _, _) = codes
    path = folder / "codes-00001.safetensors"
    whole = path.read_bytes()
    path.write_bytes(data.draw(changed_bytes(whole)))
    read = attempt(lambda: read_code_shards(folder))
    path.write_bytes(whole)
    if read is not None:
        assert arrays_digest(read[0]) == arrays_digest(arrays)


def make_code_model():
    rng = np.random.default_rng(0)
    weights = {
        f"quantizer_{level}/counts": rng.exponential(size=16).astype("float32")
        for level in ("top", "bottom")
    }
    return CodeModel("tiny", (4, 2), 16, weights)


CODE_MODEL = make_code_model()
CODES = tuple(
    np.random.default_rng(1).integers(0, 16, shape).astype("int32")
    for shape in ((3, 2), (6, 4))
)
CODE_FILES = [
    write_codes(CODES, (24, 16), CODE_MODEL, method)
    for method in ("raw", "histogram")
]


def with_fitting_crc(data):
    """Another file whose checksum fits, so that the rest is read."""
    crc = zlib.crc32(data[:5] + data[9:])
    return data[:5] + crc.to_bytes(4, "little") + data[9:]


@fuzz(
    st.one_of(
        *(changed_bytes(file) for file in CODE_FILES),
        *(changed_bytes(file).map(with_fitting_crc) for file in CODE_FILES),
        st.binary(max_size=100).map(
            lambda rest: with_fitting_crc(CODE_FILES[0][:9] + rest)
        ),
    )
)
def test_code_file(data):
    attempt(lambda: read_code_header(data))
    read = attempt(lambda: read_codes(data, CODE_MODEL))
    if read is None:
        return
    codes, header = read
    again = write_codes(codes, header.image_size, CODE_MODEL, header.method)
    for a, b in zip(codes, read_codes(again, CODE_MODEL)[0], strict=True):
        np.testing.assert_array_equal(a, b)


OLD_HEADER = {
    "format": "keras-vqvae2 codes 1",
    "model": "tiny",
    "num_embeddings": 16,
    "image_size": [24, 16],
    "shapes": [[3, 2], [6, 4]],
}
OLD_CODE_FILE = safetensors.numpy.save(
    {
        f"level_{i}": np.packbits(
            (level.reshape(-1, 1) >> np.arange(4) & 1).astype("uint8")
        )
        for i, level in enumerate(CODES)
    },
    metadata={"header": json.dumps(OLD_HEADER)},
)


def old_code_file(header):
    arrays = safetensors.numpy.load(OLD_CODE_FILE)
    return safetensors.numpy.save(
        arrays, metadata={"header": header.decode("utf-8", "replace")}
    )


@fuzz(
    st.one_of(
        changed_bytes(OLD_CODE_FILE),
        changed_json(OLD_HEADER).map(old_code_file),
    )
)
def test_older_code_file(data):
    read = attempt(lambda: read_codes(data))
    if read is None:
        return
    codes, header = read
    assert tuple(level.shape for level in codes) == header.code_shapes
    assert all(level.max() < header.num_embeddings for level in codes)


def image_files():
    image = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype("uint8")
    )
    for format in ("PNG", "JPEG", "WEBP"):
        file = io.BytesIO()
        image.save(file, format)
        yield file.getvalue()
    file = io.BytesIO()
    image.convert("P").save(file, "PNG", transparency=3)
    yield file.getvalue()


@fuzz(st.one_of(*map(changed_bytes, image_files())))
def test_image(folder, data):
    path = folder / "image"
    path.write_bytes(data)
    image = attempt(lambda: load_image(path))
    if image is not None:
        assert image.dtype == np.uint8 and image.shape[2:] == (3,)

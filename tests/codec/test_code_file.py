import concurrent.futures
import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import safetensors.numpy
import threadpoolctl
from code_models import assert_same_codes
from code_models import make_code_model
from code_models import make_weights
from code_models import random_codes
from code_models import with_fitting_crc
from reference_decoder import decode

from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.codec import CodeHeader
from keras_vqvae2.codec import CodeModel
from keras_vqvae2.codec import CodePool
from keras_vqvae2.codec import code_file
from keras_vqvae2.codec import read_codes
from keras_vqvae2.codec import read_header
from keras_vqvae2.codec import write_codes
from keras_vqvae2.codec.code_file import find_model_name
from keras_vqvae2.hub import bundled_weights

FILES = pathlib.Path(__file__).parent / "files"
METHODS = ("raw", "histogram", "context")
SIZE = (50, 37)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("strides", "num_embeddings"), [((4, 2), 16), ((2, 2, 4), 13), ((8,), 1)]
)
def test_round_trip(method, strides, num_embeddings):
    model = make_code_model(strides, num_embeddings)
    codes = random_codes(SIZE, strides, num_embeddings)
    data = write_codes(codes, SIZE, model, method)
    decoded, header = read_codes(data, model)
    assert_same_codes(codes, decoded)
    assert header == read_header(data)
    assert header.method == method and header.image_size == SIZE
    assert header.strides == strides and header.model == "tiny"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("strides", [(4, 2), (2, 2, 4), (8,)])
def test_a_decoder_written_from_the_page(method, strides):
    model = make_code_model(strides, 11, seed=3, name="vqvae2-tiny")
    codes = random_codes(SIZE, strides, 11)
    data = write_codes(codes, SIZE, model, method)
    decoded, fields = decode(
        data,
        make_weights(strides, 11, seed=3),
        model.context.arrays,
        vars(model.context.config),
    )
    for expected, received in zip(codes, decoded, strict=True):
        np.testing.assert_array_equal(expected, received)
    assert fields == {"name": "vqvae2-tiny", "method": method, "size": SIZE}


def test_the_smallest_is_taken():
    model = make_code_model()
    likely = int(np.argmax(model.histograms[0]))
    rng = np.random.default_rng(0)
    for codes in (
        random_codes(SIZE),
        tuple(
            np.where(rng.random(level.shape) < 0.8, likely, level)
            for level in random_codes(SIZE)
        ),
    ):
        sizes = [len(write_codes(codes, SIZE, model, m)) for m in METHODS]
        assert len(write_codes(codes, SIZE, model)) == min(sizes)
    plain = make_code_model(context=False)
    assert plain.methods == ("raw", "histogram")
    with pytest.raises(ValueError, match="nothing .* 'context'. It has: raw"):
        write_codes(codes, SIZE, plain, "context")
    with pytest.raises(ValueError, match="must be one of raw, histogram"):
        write_codes(codes, SIZE, plain, "zip")


@pytest.mark.parametrize(
    "counts", [None, np.full(16, np.nan), np.zeros(16), -np.ones(16)]
)
def test_no_histogram_without_counts(counts):
    weights = make_weights()
    if counts is None:
        weights = {"quantizer_top/embeddings": np.zeros((16, 4), "float32")}
    else:
        weights["quantizer_bottom/counts"] = counts.astype("float32")
    model = CodeModel("tiny", (4, 2), 16, weights)
    assert model.methods == ("raw",)


def test_codes_must_fit():
    model = make_code_model()
    codes = random_codes()
    with pytest.raises(ValueError, match=r"50 rows and 38 .* Received: \(\("):
        write_codes((codes[0], codes[1][:-1]), (50, 38), model)
    with pytest.raises(ValueError, match=r"0\.\.15.* Map 1 has .* to 16"):
        write_codes((codes[0], codes[1] + 1), SIZE, model)
    with pytest.raises(ValueError, match="Map 0 is float64"):
        write_codes((codes[0] * 1.0, codes[1]), SIZE, model)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"num_embeddings": 8}])
def test_another_revision_is_named(changed):
    data = write_codes(random_codes(), SIZE, make_code_model(), "raw")
    model = make_code_model(**changed)
    model.revision = 2
    with pytest.raises(ValueError, match="has this name, .* not revision 2"):
        read_codes(data, model)
    model.name = "other"
    with pytest.raises(ValueError, match="the `model` that made it, tiny"):
        read_codes(data, model)


def test_other_models_are_refused():
    model = make_code_model()
    for method in METHODS:
        data = write_codes(random_codes(), SIZE, model, method)
        with pytest.raises(ValueError, match="other weights"):
            read_codes(data, make_code_model(seed=1))
    message = "context model, which tiny does not have"
    with pytest.raises(ValueError, match=message):
        read_codes(data, make_code_model(context=False))
    with pytest.raises(ValueError, match=r"strides \(4, 2\) and 16 .* 8:"):
        read_codes(data, make_code_model(num_embeddings=8))
    other_context = CodeModel(
        "tiny",
        (4, 2),
        16,
        make_weights(),
        make_code_model(seed=1).context,
    )
    with pytest.raises(ValueError, match="or another context model"):
        read_codes(data, other_context)
    with pytest.raises(ValueError, match=r"context model is for 16 .* 8 and"):
        weights = make_weights(num_embeddings=8)
        CodeModel("x", (4, 2), 8, weights, model.context)


def test_raw_codes_need_no_model():
    codes = random_codes()
    data = write_codes(codes, SIZE, make_code_model(), "raw")
    assert_same_codes(codes, read_codes(data)[0])


def test_raw_codes_of_a_large_image():
    """More codes than become bits at a time, of 11 bits each; the memory."""
    size, strides = (700, 900), (2, 2)
    model = make_code_model(strides, 1025)
    codes = random_codes(size, strides, 1025)
    number = sum(level.size for level in codes)
    assert number > 2 * code_file._PART and number % 8
    tracemalloc.start()
    data = write_codes(codes, size, model, "raw")
    decoded, _ = read_codes(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert_same_codes(codes, decoded)
    string = "".join(f"{code:011b}" for level in codes for code in level.flat)
    packed = int(string, 2) << -len(string) % 8
    assert packed.to_bytes(-(-len(string) // 8), "big") in data
    # Each bit as 64 bits, twice, would be 176 bytes a code.
    assert peak < 80 * number


@pytest.mark.parametrize("method", METHODS)
def test_wrong_codes_are_never_returned(method):
    """Also if the file's own checksum fits, as a forger would have it."""
    model = make_code_model()
    codes = random_codes()
    data = write_codes(codes, SIZE, model, method)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(100):
        changed = bytearray(data)
        position = rng.integers(len(data) // 2, len(data))
        changed[position] ^= 1 << int(rng.integers(8))
        try:
            read, _ = read_codes(with_fitting_crc(bytes(changed)), model)
        except ValueError as error:
            message = str(error)
            assert "code file" in message or "cannot be decoded" in message
            refused += 1
        else:
            assert_same_codes(codes, read)
    assert refused >= 95  # some bits only fill the end


@pytest.mark.parametrize("method", METHODS)
def test_absurd_sizes_take_neither_time_nor_memory(method):
    model = make_code_model()
    header = CodeHeader(
        method=method,
        model=model.name,
        fingerprint=model.fingerprint(method),
        image_size=(16384, 16384),
        strides=model.strides,
        num_embeddings=16,
        checksums=(0, 0),
    )
    tracemalloc.start()
    with pytest.raises(
        ValueError, match="not 40|ends before its codes|not a message"
    ):
        read_codes(header.pack(bytes(range(40))), model)
    # 84 MB of codes, 805 MB of pixels.
    assert tracemalloc.get_traced_memory()[1] < 200e6
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["mine", "..", "cifar10-classifier"])
def test_a_file_chooses_no_model_but_a_preset(tmp_path, monkeypatch, name):
    folder = tmp_path / "files"
    for place in (folder, folder / name, tmp_path):
        place.mkdir(exist_ok=True, parents=True)
        shutil.copy(FILES / "tiny-codec" / "config.json", place)
    monkeypatch.chdir(folder)
    path = folder / "a.codes"
    model = make_code_model(name=name)
    path.write_bytes(write_codes(random_codes(), SIZE, model, "histogram"))
    message = f"a.codes .*'{name}', which is not a preset.* `model`"
    with pytest.raises(FileNotFoundError, match=message):
        read_codes(path)
    with pytest.raises(FileNotFoundError, match=message):
        find_model_name(read_header(path), path)


def test_a_folder_of_a_presets_name_is_not_the_preset(tmp_path, monkeypatch):
    (tmp_path / "vqvae2-cifar10").mkdir()
    (tmp_path / "vqvae2-cifar10" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    model = make_code_model(name="vqvae2-cifar10")
    data = write_codes(random_codes(), SIZE, model, "raw")
    header = read_header(data)
    assert find_model_name(header) == bundled_weights()["vqvae2-cifar10"]
    header = dataclasses.replace(header, model="vqvae2-ffhq1024")
    assert find_model_name(header) == "vqvae2-ffhq1024"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a code file"),
        (b"VQ2\x01", "is a damaged code file: it is cut short"),
        (b"\x89PNG" + bytes(99), "is not a code file"),
        (b"\x10" + bytes(7) + b"{" + bytes(99), "is not a whole code file"),
    ],
)
def test_other_files(tmp_path, content, message):
    path = tmp_path / "x.codes"
    path.write_bytes(content)
    for function in (read_codes, read_header):
        with pytest.raises(ValueError, match=f"x.codes {message}"):
            function(path)
    with pytest.raises(FileNotFoundError):
        read_codes(tmp_path / "absent.codes")


@pytest.mark.parametrize("method", METHODS)
def test_every_later_version_decodes_these(method):
    model = CodeModel.from_pretrained(FILES / "tiny-codec")
    expected = safetensors.numpy.load_file(FILES / "codes.safetensors")
    path = FILES / f"{method}.codes"
    codes, header = read_codes(path, model)
    assert_same_codes((expected["top"], expected["bottom"]), codes)
    assert_same_codes(codes, read_codes(path, FILES / "tiny-codec")[0])
    assert header.image_size == (90, 70) and header.method == method
    weights = safetensors.numpy.load_file(
        FILES / "tiny-codec" / "model.safetensors"
    )
    config = json.loads((FILES / "tiny-codec" / "config.json").read_text())
    decoded, _ = decode(
        path.read_bytes(),
        weights,
        model.context.arrays,
        config["context"],
    )
    assert_same_codes(codes, [level.astype("int32") for level in decoded])
    # The encoder may change, but so far it has not.
    assert write_codes(codes, (90, 70), model, method) == path.read_bytes()


def test_files_of_the_versions_before():
    expected = safetensors.numpy.load_file(FILES / "codes.safetensors")
    codes, header = read_codes(FILES / "before.codes")
    assert_same_codes((expected["top"], expected["bottom"]), codes)
    assert header.image_size == (90, 70) and header.strides == (4, 2)
    assert header.model == "tiny-codec" and header.num_embeddings == 16
    with pytest.raises(ValueError, match="choose the `model`"):
        read_codes(FILES / "before.codes", make_code_model((2, 4)))


def test_a_checksum_that_looks_like_a_file_of_the_versions_before():
    """Byte 8 is the checksum's last: "{" in one file of 256."""
    model = make_code_model()
    for seed in range(5000):
        codes = random_codes((8, 8), seed=seed)
        data = write_codes(codes, (8, 8), model, "raw")
        if data[8:9] == b"{":
            break
    assert data[8:9] == b"{"
    assert_same_codes(codes, read_codes(data)[0])
    assert read_header(data).model == "tiny"


def test_damaged_files_of_the_versions_before(tmp_path):
    data = (FILES / "before.codes").read_bytes()
    for end in range(0, len(data), 7):
        with pytest.raises(ValueError, match="code file"):
            read_codes(data[:end])


def test_keras_is_not_imported():
    model = FILES / "tiny-codec"
    code = (
        "import sys; from keras_vqvae2 import codec; "
        "codes, header = codec.read_codes(*sys.argv[1:]); "
        "assert codes[0].shape == (12, 9), codes[0].shape; "
        "wrong = {'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules); "
        "assert not wrong, wrong"
    )
    subprocess.run(
        [sys.executable, "-c", code, FILES / "context.codes", model],
        check=True,
        cwd=pathlib.Path(__file__).parents[2],
    )


def test_other_processes():
    model = make_code_model()
    many = [random_codes(seed=seed) for seed in range(7)]
    with CodePool(model, 2) as pool:
        files = list(
            pool.map(
                functools.partial(write_codes, method="context"),
                ((codes, SIZE) for codes in many),
            )
        )
        read = list(pool.map(read_codes, ((data,) for data in files)))
    for codes, data, (decoded, _) in zip(many, files, read, strict=True):
        assert data == write_codes(codes, SIZE, model, "context")
        assert_same_codes(codes, decoded)


def test_digest_is_of_the_values():
    arrays = {"b": np.arange(6.0).reshape(2, 3), "a": np.float32(1)}
    digest = arrays_digest(arrays)
    assert digest == arrays_digest(dict(reversed(arrays.items())))
    assert digest == arrays_digest(
        {**arrays, "b": np.asfortranarray(arrays["b"])}
    )
    assert digest != arrays_digest({**arrays, "b": arrays["b"].reshape(3, 2)})
    assert digest != arrays_digest({**arrays, "a": np.float64(1)})
    assert digest != arrays_digest({**arrays, "a": np.float32(2)})


def _older_file(header, arrays=None):
    """A file as versions before the format wrote it."""
    arrays = arrays or {"level_0": np.zeros(1, "uint8")}
    return safetensors.numpy.save(arrays, {"header": header})


def test_forged_files_of_the_versions_before():
    header = {
        "format": "keras-vqvae2 codes 1",
        "num_embeddings": 16,
        "image_size": [4, 8],
        "shapes": [[1, 2]],
        "model": "somewhere/else/mine",
    }
    codes, read = read_codes(_older_file(json.dumps(header)))
    assert codes[0].shape == (1, 2) and read.model == "mine"
    for change in (
        {"shapes": [[1, 2**17]]},
        {"shapes": [[1]]},
        {"image_size": [4, 2.5]},
        {"num_embeddings": "16"},
    ):
        with pytest.raises(ValueError, match="damaged code file"):
            read_codes(_older_file(json.dumps({**header, **change})))
    with pytest.raises(ValueError, match="not a whole code file"):
        read_codes(_older_file("[" * 200000))
    model = "\x1b[31m" + "a" * 5000
    _, read = read_codes(_older_file(json.dumps({**header, "model": model})))
    assert read.model == "unknown"
    data = _older_file(json.dumps(header)).replace(b'"U8"', b'"F8_E4M3"')
    data = data.replace(data[:8], (len(data) - 9).to_bytes(8, "little"), 1)
    with pytest.raises(ValueError, match="not a whole code file"):
        read_codes(data)


def test_counts_of_another_codebook():
    with pytest.raises(ValueError, match=r"16 codes must .* shape \(5,\)"):
        CodeModel("x", (4, 2), 16, make_weights(num_embeddings=5))


@pytest.mark.parametrize("source", [77, 1.5, None, [b"x"]])
def test_what_is_no_file(source):
    with pytest.raises(TypeError, match="path or its bytes"):
        read_codes(source)


@pytest.mark.parametrize("size", [(50,), (50, 37, 3), (0, 37), (50.5, 37), 5])
def test_bad_image_size(size):
    with pytest.raises(ValueError, match="two positive integers"):
        write_codes(random_codes(), size, make_code_model())


def _die(model):
    os._exit(1)


def test_a_process_that_dies():
    with CodePool(make_code_model(), 2) as pool:
        with pytest.raises(OSError, match="process of the codec has died"):
            list(pool.map(_die, [()]))


@pytest.mark.parametrize("num_workers", [0, -1, 1.5, "2", True])
def test_bad_number_of_processes(num_workers):
    with pytest.raises(ValueError, match="`num_workers` must be a positive"):
        CodePool(make_code_model(), num_workers)


def test_threads_are_given_back():
    """Also if some read at the same time: limits that overlap."""

    def threads():
        return [info["num_threads"] for info in threadpoolctl.threadpool_info()]

    data = write_codes(random_codes(), SIZE, make_code_model(), "context")
    with threadpoolctl.threadpool_limits(2):
        before = threads()
        assert 2 in before
        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            list(
                executor.map(
                    lambda _: read_codes(data, make_code_model()), range(8)
                )
            )
        assert threads() == before

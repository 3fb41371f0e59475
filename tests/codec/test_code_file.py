import json

import numpy as np
import pytest
import safetensors.numpy

import keras_vqvae2


def _codes(num_embeddings, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.integers(0, num_embeddings, size) for size in ((3, 5), (6, 10))
    )


def _save(path, codes, num_embeddings=512):
    keras_vqvae2.save_codes(
        path,
        codes,
        num_embeddings=num_embeddings,
        image_size=(23, 40),
        model="some-model",
    )


@pytest.mark.parametrize("num_embeddings", [1, 2, 3, 256, 512, 513, 65536])
def test_round_trip(tmp_path, num_embeddings):
    codes = _codes(num_embeddings)
    codes[0][0, 0] = num_embeddings - 1
    _save(tmp_path / "a.codes", codes, num_embeddings)
    loaded, header = keras_vqvae2.load_codes(tmp_path / "a.codes")
    for before, after in zip(codes, loaded, strict=True):
        assert after.dtype == np.int32
        np.testing.assert_array_equal(before, after)
    assert header["model"] == "some-model"
    assert header["image_size"] == [23, 40]
    assert header["num_embeddings"] == num_embeddings


def test_size_is_nine_bits_a_code_and_a_small_header(tmp_path):
    rng = np.random.default_rng(0)
    codes = [rng.integers(0, 512, size) for size in ((32, 32), (64, 64))]
    _save(tmp_path / "a.codes", codes)
    payload = (32 * 32 + 64 * 64) * 9 // 8
    assert payload < (tmp_path / "a.codes").stat().st_size < payload + 600


def test_code_out_of_range_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"0\.\.15.* Map 0 has .* to 16"):
        _save(tmp_path / "a.codes", (np.array([[16]]),), 16)
    assert not list(tmp_path.iterdir())


def test_truncated_file(tmp_path):
    path = tmp_path / "a.codes"
    _save(path, _codes(512))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="not a whole file of codes"):
        keras_vqvae2.load_codes(path)


def test_other_files(tmp_path):
    (tmp_path / "text").write_text("no codes here")
    with pytest.raises(ValueError, match="not a whole file of codes"):
        keras_vqvae2.load_codes(tmp_path / "text")
    safetensors.numpy.save_file({"a": np.zeros(2)}, tmp_path / "weights")
    with pytest.raises(ValueError, match="is not a file of codes"):
        keras_vqvae2.load_codes(tmp_path / "weights")
    with pytest.raises(FileNotFoundError):
        keras_vqvae2.load_codes(tmp_path / "absent")


@pytest.mark.parametrize(
    "change",
    [
        {"num_embeddings": 2**40},
        {"num_embeddings": "512"},
        {"image_size": [-1, 5]},
        {"image_size": 5},
        {"shapes": [[3, 5], [6, 11]]},
        {"shapes": [[3, 5], [10**9, 10**9]]},
        {"shapes": [[3, 5]] * 3},
        {"shapes": None},
    ],
)
def test_hostile_headers(tmp_path, change):
    path = tmp_path / "a.codes"
    _save(path, _codes(512))
    with safetensors.safe_open(path, framework="numpy") as file:
        header = json.loads(file.metadata()["header"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    safetensors.numpy.save_file(
        arrays, path, metadata={"header": json.dumps({**header, **change})}
    )
    with pytest.raises(ValueError, match="damaged file of codes"):
        keras_vqvae2.load_codes(path)

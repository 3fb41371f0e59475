import json
import os

import numpy as np
import pytest
import safetensors.numpy

from keras_vqvae2.data import code_dataset
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.data import write_code_shards

TOP = np.random.default_rng(0).integers(0, 300, (23, 2, 3))
BOTTOM = np.random.default_rng(1).integers(0, 300, (23, 4, 6))
LABELS = np.arange(23) % 5


class Batches:
    """Batches of 4, which can stop as if killed."""

    def __init__(self, labels=True, killed_after=None):
        self.labels = labels
        self.killed_after = killed_after
        self.skipped = None

    def __call__(self, skipped):
        self.skipped = skipped
        for i, start in enumerate(range(skipped, 23, 4)):
            if i == self.killed_after:
                raise KeyboardInterrupt
            part = slice(start, start + 4)
            labels = LABELS[part] if self.labels else None
            yield (TOP[part], BOTTOM[part]), labels


def write(folder, batches=None, **kwargs):
    return write_code_shards(
        batches or Batches(),
        folder,
        **{
            "num_embeddings": 300,
            "level_names": ("top", "bottom"),
            "shard_size": 6,
            **kwargs,
        },
    )


@pytest.mark.parametrize("shard_size", [1, 6, 23, 100])
def test_round_trip(tmp_path, shard_size):
    assert write(tmp_path / "codes", shard_size=shard_size) == 23
    codes, labels, index = read_code_shards(tmp_path / "codes")
    assert list(codes) == ["top", "bottom"]
    np.testing.assert_array_equal(codes["top"], TOP)
    np.testing.assert_array_equal(codes["bottom"], BOTTOM)
    np.testing.assert_array_equal(labels, LABELS)
    assert codes["top"].dtype == "uint16"
    assert index["num_shards"] == -(-23 // shard_size)


@pytest.mark.once
@pytest.mark.parametrize("name", ["index.json", "codes-00001.safetensors"])
def test_pipes_are_no_shards(tmp_path, name):
    write(tmp_path / "codes")
    (tmp_path / "codes" / name).unlink()
    os.mkfifo(tmp_path / "codes" / name)
    with pytest.raises(OSError, match=name):
        read_code_shards(tmp_path / "codes")


@pytest.mark.once
def test_batches_are_bounded():
    with pytest.raises(ValueError, match="`batch_size` must be .* at most"):
        code_dataset((TOP,), None, 10**9)


def test_without_labels(tmp_path):
    write(tmp_path, Batches(labels=False))
    assert read_code_shards(tmp_path)[1] is None


def test_goes_on_after_the_last_whole_shard(tmp_path):
    folder = tmp_path / "codes"
    with pytest.raises(KeyboardInterrupt):
        write(folder, Batches(killed_after=4))
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"codes-0000{i}.safetensors" for i in range(2)]
    with pytest.raises(FileNotFoundError, match="no complete set of codes"):
        read_code_shards(folder)
    before = (folder / names[0]).stat().st_mtime_ns

    batches = Batches()
    assert write(folder, batches) == 23
    assert batches.skipped == 12
    assert (folder / names[0]).stat().st_mtime_ns == before
    np.testing.assert_array_equal(read_code_shards(folder)[0]["top"], TOP)


def test_complete_or_other_codes_are_not_overwritten(tmp_path):
    write(tmp_path)
    with pytest.raises(FileExistsError, match="complete set of codes"):
        write(tmp_path)
    (tmp_path / "index.json").unlink()
    with pytest.raises(FileExistsError, match="of another run"):
        write(tmp_path, num_embeddings=512)


def test_damage(tmp_path):
    write(tmp_path)
    path = tmp_path / "codes-00001.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(ValueError, match="not a whole shard"):
        read_code_shards(tmp_path)
    safetensors.numpy.save_file({"top": TOP}, path)
    with pytest.raises(ValueError, match="not a whole shard"):
        read_code_shards(tmp_path)
    path.write_bytes(whole)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(
        json.dumps({**index, "num_embeddings": 10})
    )
    with pytest.raises(ValueError, match="num_embeddings 300 instead of 10"):
        read_code_shards(tmp_path)
    (tmp_path / "index.json").write_text("[]")
    with pytest.raises(ValueError, match="not the index"):
        read_code_shards(tmp_path)


def test_argument_errors(tmp_path):
    with pytest.raises(ValueError, match="`shard_size` must be a positive"):
        write(tmp_path, shard_size=0)
    with pytest.raises(ValueError, match="up to 65536"):
        write(tmp_path, num_embeddings=65537)
    with pytest.raises(ValueError, match="no images"):
        write(tmp_path, lambda skipped: [])
    with pytest.raises(ValueError, match="`batch_size` must be a positive"):
        code_dataset([TOP], None, 0)


def first(dataset, number):
    return list(dataset.take(number).as_numpy_iterator())


def test_training_batches():
    dataset = code_dataset([TOP, BOTTOM], LABELS, 5, seed=3)
    batches = first(dataset, 10)
    assert batches[0]["codes"][1].shape == (5, 4, 6)
    assert batches[0]["codes"][0].dtype == "int32"
    images = []
    for batch in batches:
        for top, bottom, label in zip(
            *batch["codes"], batch["labels"], strict=True
        ):
            (i,) = np.flatnonzero((TOP == top).all(axis=(1, 2)))
            np.testing.assert_array_equal(bottom, BOTTOM[i])
            assert label == LABELS[i]
            images.append(i)
    # Each epoch sees every image once, in an order of its own.
    assert sorted(images[:23]) == sorted(images[23:46]) == list(range(23))
    assert images[:23] != images[23:46]
    later = code_dataset([TOP, BOTTOM], LABELS, 5, seed=3, start_step=6)
    np.testing.assert_array_equal(
        first(later, 1)[0]["codes"][0], batches[6]["codes"][0]
    )


def test_validation_batches():
    dataset = code_dataset([TOP], None, 10, training=False)
    batches = list(dataset.as_numpy_iterator())
    assert "labels" not in batches[0]
    np.testing.assert_array_equal(
        np.concatenate([batch["codes"][0] for batch in batches]), TOP
    )


@pytest.mark.parametrize("training", [True, False])
def test_workers_share_each_batch(training):
    def stream(**kwargs):
        dataset = code_dataset(
            (TOP, BOTTOM),
            LABELS,
            4,
            training=training,
            drop_remainder=True,
            **kwargs,
        )
        batches = [x["codes"][1].numpy() for x in dataset.take(5)]
        return np.stack(batches)

    whole = stream()
    parts = [stream(shard=(i, 2)) for i in range(2)]
    merged = np.stack(parts, axis=2).reshape(whole.shape)
    np.testing.assert_array_equal(merged, whole)

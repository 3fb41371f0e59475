"""Shards of codes that are damaged, or of another run."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.data import write_code_shards

pytestmark = pytest.mark.once

TOP = np.random.default_rng(0).integers(0, 300, (23, 2, 3))
BOTTOM = np.random.default_rng(1).integers(0, 300, (23, 4, 6))
LABELS = np.arange(23) % 5


def batches(top=TOP, bottom=BOTTOM, labels=LABELS, stop=23):
    def batches(skipped):
        for start in range(skipped, stop, 4):
            part = slice(start, start + 4)
            yield (
                (top[part], bottom[part]),
                None if labels is None else labels[part],
            )
        if stop < 23:
            raise KeyboardInterrupt

    return batches


def write(folder, make=None, **kwargs):
    return write_code_shards(
        make or batches(),
        folder,
        **{
            "num_embeddings": 300,
            "level_names": ("top", "bottom"),
            "shard_size": 6,
            "source": {"weights": "ab", "mirrored": False},
            **kwargs,
        },
    )


class Shards:
    """A complete set of codes, to damage."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, number):
        return self.folder / f"codes-{number:05}.safetensors"

    def change(self, number, honest=True, header=(), **arrays):
        """Other arrays or another header, with a checksum that fits."""
        path = self.path(number)
        with safetensors.safe_open(path, framework="numpy") as file:
            described = json.loads(file.metadata()["header"])
        changed = {**safetensors.numpy.load_file(path), **arrays}
        changed = {k: v for k, v in changed.items() if v is not None}
        described.update(header)
        if honest:
            described["sha256"] = arrays_digest(changed).hex()
        safetensors.numpy.save_file(
            changed, path, metadata={"header": json.dumps(described)}
        )
        if honest:
            index = json.loads((self.folder / "index.json").read_text())
            index["sha256"][number] = described["sha256"]
            self.index(**index)

    def index(self, **changes):
        path = self.folder / "index.json"
        index = {**json.loads(path.read_text()), **changes}
        index = {k: v for k, v in index.items() if v is not ...}
        path.write_text(json.dumps(index))


@pytest.fixture
def shards(tmp_path):
    write(tmp_path / "codes")
    return Shards(tmp_path / "codes")


def six(array, dtype="uint16"):
    return array[:6].astype(dtype)


DAMAGE = {
    "floats": (
        lambda s: s.change(1, top=six(TOP, "float32")),
        "'top' must be uint16",
    ),
    "negative codes": (
        lambda s: s.change(1, top=six(TOP, "int16") - 300),
        "'top' must be uint16",
    ),
    "codes out of range": (
        lambda s: s.change(1, top=six(TOP) + 100),
        r"'top' must be in 0\.\.299",
    ),
    "negative labels": (
        lambda s: s.change(1, labels=-six(LABELS, "int32")),
        r"'labels' must be in 0\.\.2147483647",
    ),
    "labels that are floats": (
        lambda s: s.change(1, labels=six(LABELS, "float32")),
        "'labels' must be int32",
    ),
    "labels missing in one shard": (
        lambda s: s.change(1, labels=None),
        "not of one run",
    ),
    "labels of other images": (
        lambda s: s.change(1, False, labels=six(LABELS[2:], "int32")),
        "is damaged: sha256",
    ),
    "codes of other images": (
        lambda s: s.change(1, False, top=six(TOP)),
        "is damaged: sha256",
    ),
    "a copy of another shard": (
        lambda s: s.path(1).write_bytes(s.path(0).read_bytes()),
        "is damaged: shard 0 instead of 1",
    ),
    "a copy of another shard, renumbered": (
        lambda s: (
            s.path(1).write_bytes(s.path(0).read_bytes()),
            s.change(1, False, header={"shard": 1}),
        ),
        "not the shard that index.json lists",
    ),
    "a shard of another model": (
        lambda s: s.change(
            1, header={"source": {"weights": "cd", "mirrored": False}}
        ),
        "of another run than index.json: weights 'cd' instead of 'ab'",
    ),
    "a shard of other arguments": (
        lambda s: s.change(
            1, header={"source": {"weights": "ab", "mirrored": True}}
        ),
        "mirrored True instead of False",
    ),
    "a shard of a short run": (
        lambda s: s.change(
            1,
            top=six(TOP)[:5],
            bottom=six(BOTTOM)[:5],
            labels=six(LABELS, "int32")[:5],
        ),
        "codes-00002.safetensors follows a shard that is not full",
    ),
    "maps of another size": (
        lambda s: s.change(1, top=six(TOP)[:, :1].copy()),
        "not of one run",
    ),
    "maps of different numbers": (
        lambda s: s.change(1, top=six(TOP)[:5]),
        "1 to 6 images in each level",
    ),
    "no images": (
        lambda s: s.change(
            3,
            top=six(TOP)[:0],
            bottom=six(BOTTOM)[:0],
            labels=six(LABELS, "int32")[:0],
        ),
        "1 to 6 images in each level",
    ),
    "a level too many": (lambda s: s.change(1, more=six(TOP)), "the levels"),
    "a level too few": (lambda s: s.change(1, top=None), "the levels"),
    "scalars": (
        lambda s: s.change(1, top=np.array(3, "uint16")),
        "1 to 6 images in each level",
    ),
    "a missing shard": (lambda s: s.path(2).unlink(), "00002.* is missing"),
    "deep JSON in a header": (
        lambda s: safetensors.numpy.save_file(
            {"top": six(TOP)}, s.path(1), metadata={"header": "[" * 10_000}
        ),
        "not a whole shard: it is nested too deep",
    ),
    "a header that is a list": (
        lambda s: safetensors.numpy.save_file(
            {"top": six(TOP)}, s.path(1), metadata={"header": "[]"}
        ),
        "it has no header",
    ),
    "deep JSON in the index": (
        lambda s: (s.folder / "index.json").write_text("[" * 10_000),
        "not an index: it is nested too deep",
    ),
    "an index that is no JSON": (
        lambda s: (s.folder / "index.json").write_bytes(b"\xff\xfe"),
        "not an index",
    ),
    **{
        f"{key} {value!r} in the index": (
            lambda s, key=key, value=value: s.index(**{key: value}),
            f"{key}|are not [35] shards",
        )
        for key, values in {
            "num_shards": (0, -1, "4", 3, 5, True, 4.0, ..., 2**70),
            "num_images": (0, -1, "23", ..., [23]),
            "num_embeddings": (0, 2**17, "300", ...),
            "shard_size": (0, "6", ...),
            "levels": ([], "top", [1, 2], ["top", "top"], ["labels"], ...),
            "sha256": (..., [], {}, "ab"),
            "source": (..., [], "ab"),
        }.items()
        for value in values
    },
    "another size of shards in the index": (
        lambda s: s.index(shard_size=7),
        "shard_size 6 instead of 7",
    ),
    "too few images in the index": (
        lambda s: s.index(num_images=21),
        "the codes of 23 images, not of 21",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused(shards, damage):
    change, message = DAMAGE[damage]
    change(shards)
    with pytest.raises(ValueError, match=message) as caught:
        read_code_shards(shards.folder)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": {"weights": "cd", "mirrored": False}}, "weights 'ab' inst"),
        ({"source": {"weights": "ab", "mirrored": True}}, "mirrored False"),
        ({"source": {"weights": "ab"}}, "mirrored False instead of None"),
        ({"source": None}, "weights 'ab' instead of None"),
        ({"shard_size": 4}, "shard_size 6 instead of 4"),
        ({"num_embeddings": 301}, "num_embeddings 300 instead of 301"),
        ({"level_names": ("a", "b")}, "levels"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, changes, message):
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, batches(stop=16))
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=f"of another run: .*{message}"):
        write(tmp_path, **changes)
    assert before == {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert write(tmp_path) == 23
    np.testing.assert_array_equal(read_code_shards(tmp_path)[0]["top"], TOP)


@pytest.mark.parametrize(
    "damage", ["a copy of another shard", "codes of other images"]
)
def test_damaged_shards_are_not_resumed(shards, damage):
    DAMAGE[damage][0](shards)
    (shards.folder / "index.json").unlink()
    with pytest.raises(ValueError, match="is damaged"):
        write(shards.folder)


def test_a_kill_before_the_index_is_resumed(shards):
    (shards.folder / "index.json").unlink()
    assert write(shards.folder) == 23
    assert len(read_code_shards(shards.folder)[0]["top"]) == 23


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (batches(top=TOP - 300), "must be integers of uint16"),
        (batches(top=TOP + 2**16), "must be integers of uint16"),
        (batches(top=TOP / 2), "must be integers of uint16"),
        (batches(top=TOP + 300), r"'top' must be in 0\.\.299"),
        (batches(labels=LABELS - 3), "'labels' must be in 0"),
        (batches(labels=LABELS + 2**31), "must be integers of int32"),
        (batches(labels=LABELS / 2), "must be integers of int32"),
        (batches(labels=[LABELS, None]), "labels"),
    ],
)
def test_what_cannot_be_read_is_not_written(tmp_path, make, message):
    if message == "labels":  # in some batches alone

        def make(skipped):
            yield (TOP[:6], BOTTOM[:6]), LABELS[:6]
            yield (TOP[6:12], BOTTOM[6:12]), None

        message = "not of one run"
    with pytest.raises(ValueError, match=message):
        write(tmp_path, make)
    assert not (tmp_path / "index.json").exists()


def test_older_shards_are_read(shards):
    """Those of the first format, which had no checksums."""
    common = {
        "format": "keras-vqvae2 code shards 1",
        "num_embeddings": 300,
        "levels": ["top", "bottom"],
        "shard_size": 6,
    }
    for number in range(4):
        path = shards.path(number)
        safetensors.numpy.save_file(
            safetensors.numpy.load_file(path),
            path,
            metadata={"header": json.dumps(common)},
        )
    (shards.folder / "index.json").write_text(
        json.dumps({**common, "num_images": 23, "num_shards": 4})
    )
    codes, labels, index = read_code_shards(shards.folder)
    np.testing.assert_array_equal(codes["bottom"], BOTTOM)
    np.testing.assert_array_equal(labels, LABELS)
    assert index["num_images"] == 23
    shards.path(1).write_bytes(shards.path(3).read_bytes())
    with pytest.raises(ValueError, match="follows a shard that is not full"):
        read_code_shards(shards.folder)


def test_a_file_is_no_folder_of_codes(tmp_path):
    (tmp_path / "file").write_text("")

    def made(skipped):
        raise AssertionError("codes were made")

    with pytest.raises(FileExistsError):
        write(pathlib.Path(tmp_path, "file"), made)

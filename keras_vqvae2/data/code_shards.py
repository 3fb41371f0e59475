"""Codes of a whole data set, in shards of plain integers (algorithm 2)."""

import json
import math
import pathlib
import reprlib

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.arrays import parse_json
from keras_vqvae2.arrays import read_arrays
from keras_vqvae2.arrays import read_header
from keras_vqvae2.arrays import write_arrays
from keras_vqvae2.files import atomic_path

_FORMAT = "keras-vqvae2 code shards 2"
# Without `source`, checksums and the shards' numbers.
_OLD_FORMAT = "keras-vqvae2 code shards 1"
_INDEX = "index.json"
_MAX_INDEX_BYTES = 2**22
_LABELS = "labels"
# What the shards of a run and its index say alike.
_COMMON = ("format", "num_embeddings", "levels", "shard_size", "source")


def write_code_shards(
    batches,
    folder,
    *,
    num_embeddings,
    level_names,
    shard_size=4096,
    source=None,
):
    """Writes the codes of a data set to a folder of shards.

    `codes-00000.safetensors`, ... hold an integer array `(images, height,
    width)` for each level, and `labels`, `(images,)`, if there are any.
    `index.json` is written last. Files are written atomically: a killed run
    resumes after its last whole shard. Each shard says of what run it is,
    its number, and the SHA-256 of its arrays.

    Args:
        batches: Function that takes the number of images to skip and returns
            an iterable of `(codes, labels)`: `codes` is a tuple of integer
            arrays `(batch, height_i, width_i)`, coarse to fine, and `labels`
            an integer array `(batch,)` or None.
        folder: Folder to write to.
        num_embeddings: Codebook vectors of each level, at most 65536.
        level_names: Names of the levels, coarse to fine.
        shard_size: Images in a shard.
        source: Dict, of what JSON can hold, of all that the codes depend on:
            shards of another one are not resumed. `weights` is the SHA-256 of
            the model's weights.

    Returns:
        Total number of images.

    Raises:
        FileExistsError: If the folder has a complete set of codes, or shards
            of another run.
        ValueError: If an argument is out of range, codes or labels are not
            integers in range, there are no images, or a shard that is there
            already is damaged.

    Source: algorithm 2 of VQ-VAE-2, arXiv 1906.00446.

    Example:

    ```python
    codes = (np.zeros((5, 2, 2), "int32"), np.ones((5, 4, 4), "int32"))
    count = keras_vqvae2.data.write_code_shards(
        lambda skipped: [(codes, None)],
        folder / "codes",
        num_embeddings=16,
        level_names=("top", "bottom"),
    )
    codes, labels, index = keras_vqvae2.data.read_code_shards(folder / "codes")
    assert count == 5 and codes["bottom"].shape == (5, 4, 4)
    ```
    """
    check_integer("shard_size", shard_size)
    if not 1 <= num_embeddings <= 2**16:
        raise ValueError(
            "Shards hold up to 65536 different codes. Received: "
            f"num_embeddings={num_embeddings}"
        )
    folder = pathlib.Path(folder)
    if (folder / _INDEX).exists():
        raise FileExistsError(
            f"{folder} has a complete set of codes already. Choose another "
            "folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    common = {
        "format": _FORMAT,
        "num_embeddings": int(num_embeddings),
        "levels": list(level_names),
        "shard_size": int(shard_size),
        "source": source or {},
    }
    common = json.loads(json.dumps(common))  # as it is read
    run = _Run(folder, common)
    while (path := run.next_path()).exists():
        found = _read_shard_header(path)
        if (differing := _differences(found, common)) != "":
            raise FileExistsError(
                f"{path} is of another run: {differing}. Choose another folder."
            )
        run.add(*_read_shard(path, common, len(run.digests)))
    pending, count = [], 0

    def write(parts):
        codes, labels = zip(*parts, strict=True)
        arrays = dict(
            zip(common["levels"], zip(*codes, strict=True), strict=True)
        )
        arrays = {
            name: _as_integers(np.concatenate(level), "uint16")
            for name, level in arrays.items()
        }
        if labels[0] is not None:
            arrays[_LABELS] = _as_integers(np.concatenate(labels), "int32")
        path, number = run.next_path(), len(run.digests)
        digest = arrays_digest(arrays).hex()
        _check_arrays(path, arrays, common)
        run.add(arrays, digest)
        header = {**common, "shard": number, "sha256": digest}
        with atomic_path(path) as temporary:
            write_arrays(temporary, arrays, {"header": json.dumps(header)})

    for codes, labels in batches(run.num_images):
        while len(codes[0]):
            room = shard_size - count
            part = tuple(level[:room] for level in codes)
            pending.append((part, None if labels is None else labels[:room]))
            count += len(part[0])
            codes = tuple(level[room:] for level in codes)
            labels = None if labels is None else labels[room:]
            if count == shard_size:
                write(pending)
                pending, count = [], 0
    if pending:
        write(pending)
    if not run.num_images:
        raise ValueError("There are no images to extract codes from.")
    index = {
        **common,
        "num_images": run.num_images,
        "num_shards": len(run.digests),
        "sha256": run.digests,
    }
    with atomic_path(folder / _INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n")
    return run.num_images


def read_code_shards(folder):
    """Reads all codes of a folder written by `write_code_shards`.

    Args:
        folder: The folder.

    Returns:
        Tuple `(codes, labels, index)`: a dict of uint16 arrays
        `(images, height, width)` by level name, coarse to fine; an int32 array
        `(images,)` or None; and the content of `index.json`.

    Raises:
        FileNotFoundError: If the folder has no complete set of codes.
        ValueError: If a file is damaged, or not all are of one run.
    """
    folder = pathlib.Path(folder)
    if not (folder / _INDEX).is_file():
        raise FileNotFoundError(
            f"{folder} has no complete set of codes: there is no {_INDEX}. "
            "`keras-vqvae2 extract-codes` writes one, or completes an "
            "interrupted one."
        )
    index = _read_index(folder / _INDEX)
    common = {key: index[key] for key in _COMMON if key in index}
    run = _Run(folder, common)
    shards = []
    for number in range(index["num_shards"]):
        arrays, digest = _read_shard(run.next_path(), common, number)
        if digest is not None and digest != index["sha256"][number]:
            raise ValueError(
                f"{run.next_path()} is damaged: it is not the shard that "
                f"{_INDEX} lists."
            )
        run.add(arrays, digest)
        shards.append(arrays)
    if run.num_images != index["num_images"]:
        raise ValueError(
            f"{folder} is damaged: it has the codes of {run.num_images} "
            f"images, not of {index['num_images']}."
        )
    arrays = {
        name: np.concatenate([shard[name] for shard in shards])
        for name in (*index["levels"], _LABELS)
        if name in shards[0]
    }
    labels = arrays.pop(_LABELS, None)
    return arrays, labels, index


class _Run:
    """The shards of a run so far, which fit together."""

    def __init__(self, folder, common):
        self.folder = folder
        self.common = common
        self.digests = []
        self.num_images = 0
        self._shapes = None

    def next_path(self):
        return self.folder / f"codes-{len(self.digests):05}.safetensors"

    def add(self, arrays, digest):
        """Adds the next shard; ValueError if it does not fit those before."""
        if self.num_images != len(self.digests) * self.common["shard_size"]:
            raise ValueError(
                f"{self.next_path()} follows a shard that is not full: the "
                "data have changed since, or a shard is of another run."
            )
        shapes = {name: array.shape[1:] for name, array in arrays.items()}
        if self._shapes not in (None, shapes):
            raise ValueError(
                f"{self.next_path()} has {_described(shapes)}, and the shards "
                f"before {_described(self._shapes)}: they are not of one run."
            )
        self._shapes = shapes
        self.digests.append(digest)
        self.num_images += len(arrays[self.common["levels"][0]])


def _described(shapes):
    maps = [
        f"{name} {'x'.join(map(str, shape))}".strip()
        for name, shape in shapes.items()
    ]
    return reprlib.repr(", ".join(maps))


def _differences(found, expected):
    """What a shard says otherwise of its run, "" for nothing."""
    if not isinstance(found, dict):
        return "it has no header"
    pairs = []
    for key, value in expected.items():
        other = found.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            pairs += [
                (name, other.get(name), value.get(name))
                for name in sorted(value.keys() | other.keys())
            ]
        else:
            pairs.append((key, other, value))
    return ", ".join(
        f"{reprlib.repr(name)[1:-1]} {reprlib.repr(other)} instead of "
        f"{reprlib.repr(value)}"
        for name, other, value in pairs
        if (type(other), other) != (type(value), value)
    )


def _read_shard_header(path):
    try:
        return parse_json(read_header(path)[1]["header"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole shard: {error}") from error


def _read_shard(path, common, number):
    """`(arrays, SHA-256 or None)` of a shard of the run `common`."""
    try:
        arrays, metadata = read_arrays(path)
        header = parse_json(metadata["header"])
    except FileNotFoundError:
        raise ValueError(f"{path} is missing.") from None
    except (KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole shard: {error}") from error
    if differing := _differences(header, common):
        raise ValueError(
            f"{path} is of another run than {_INDEX}: {differing}."
        )
    _check_arrays(path, arrays, common)
    if common["format"] == _OLD_FORMAT:
        return arrays, None
    digest = arrays_digest(arrays).hex()
    if differing := _differences(header, {"shard": number, "sha256": digest}):
        raise ValueError(f"{path} is damaged: {differing}.")
    return arrays, digest


def _check_arrays(path, arrays, common):
    """Raises ValueError unless a shard has the codes that it should have."""
    levels, limit = common["levels"], common["num_embeddings"]
    if set(arrays) - {_LABELS} != set(levels):
        raise ValueError(
            f"{path} has the levels "
            f"{reprlib.repr(sorted(set(arrays) - {_LABELS}))} instead of "
            f"{levels}."
        )
    counts = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(counts) > 1 or not 1 <= min(counts) <= common["shard_size"]:
        raise ValueError(
            f"{path} must have 1 to {common['shard_size']} images in each "
            f"level. Received: {reprlib.repr(sorted(counts))}"
        )
    for name, array in arrays.items():
        dtype, rank, high = "uint16", 3, limit - 1
        if name == _LABELS:
            dtype, rank, high = "int32", 1, 2**31 - 1
        if array.dtype != dtype or array.ndim != rank or not array.size:
            raise ValueError(
                f"{path}: {name!r} must be {dtype} with {rank} axes. Received: "
                f"{array.dtype} of shape {array.shape}"
            )
        if array.min() < 0 or array.max() > high:
            raise ValueError(
                f"{path}: {name!r} must be in 0..{high}. Received: "
                f"{array.min()}..{array.max()}"
            )


def _as_integers(array, dtype):
    """The array in a smaller dtype; ValueError if that changes values."""
    converted = array.astype(dtype)
    if array.dtype.kind not in "iu" or not np.array_equal(converted, array):
        raise ValueError(
            f"Codes and labels must be integers of {dtype}. Received: "
            f"{array.dtype}, {array.min()}..{array.max()}"
        )
    return converted


def _read_index(path):
    """The checked content of `index.json`."""
    with open(path, "rb") as file:
        text = file.read(_MAX_INDEX_BYTES + 1)
    try:
        if len(text) > _MAX_INDEX_BYTES:
            raise ValueError(f"it is larger than {_MAX_INDEX_BYTES} bytes")
        index = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{path} is not an index: {error}") from error
    formats = (_FORMAT, _OLD_FORMAT)
    if not isinstance(index, dict) or index.get("format") not in formats:
        raise ValueError(f"{path} is not the index of code shards.")
    bounds = {
        "num_embeddings": 2**16,
        "shard_size": 2**31,
        "num_images": 2**40,
        "num_shards": 2**16,
    }
    for key, high in bounds.items():
        value = index.get(key)
        if type(value) is not int or not 1 <= value <= high:
            raise ValueError(
                f"{path}: {key!r} must be an integer in 1..{high}. Received: "
                f"{reprlib.repr(value)}"
            )
    num_shards = index["num_shards"]
    if num_shards != math.ceil(index["num_images"] / index["shard_size"]):
        raise ValueError(
            f"{path}: {index['num_images']} images in shards of "
            f"{index['shard_size']} are not {num_shards} shards."
        )
    levels = index.get("levels")
    if not (
        isinstance(levels, list)
        and 1 <= len(levels) <= 8
        and all(isinstance(name, str) for name in levels)
        and len({*levels, _LABELS}) == len(levels) + 1
    ):
        raise ValueError(
            f"{path}: 'levels' must be a list of 1 to 8 names. Received: "
            f"{reprlib.repr(levels)}"
        )
    if index["format"] == _FORMAT:
        digests = index.get("sha256")
        if not isinstance(digests, list) or len(digests) != num_shards:
            raise ValueError(
                f"{path}: 'sha256' must be a list of {num_shards} checksums."
            )
        if not isinstance(index.get("source"), dict):
            raise ValueError(f"{path}: 'source' must be an object.")
    return index

"""Codes of a whole data set, in shards of plain integers (algorithm 2)."""

import json
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import _pipeline
from keras_vqvae2.data._arguments import SEED_LIMIT
from keras_vqvae2.files import atomic_path
from keras_vqvae2.files import open_regular

tf = LazyModule("tensorflow")

_FORMAT = "keras-vqvae2 code shards 1"
_INDEX = "index.json"
# More would fill the memory with copies of the codes.
_MAX_BATCH = 2**20


def write_code_shards(
    batches, folder, *, num_embeddings, level_names, shard_size=4096
):
    """Writes the codes of a data set to a folder of shards.

    `codes-00000.safetensors`, ... hold an integer array `(images, height,
    width)` for each level, and `labels`, `(images,)`, if there are any.
    `index.json` is written last. Files are written atomically: a killed run
    resumes after its last whole shard.

    Args:
        batches: Function that takes the number of images to skip and returns
            an iterable of `(codes, labels)`: `codes` is a tuple of integer
            arrays `(batch, height_i, width_i)`, coarse to fine, and `labels`
            an integer array `(batch,)` or None.
        folder: Folder to write to.
        num_embeddings: Codebook vectors of each level, at most 65536.
        level_names: Names of the levels, coarse to fine.
        shard_size: Images in a shard.

    Returns:
        Total number of images.

    Raises:
        FileExistsError: If the folder has a complete set of codes, or shards
            of another model or shard size.
        ValueError: If an argument is out of range, or there are no images.

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
    header = {
        "format": _FORMAT,
        "num_embeddings": num_embeddings,
        "levels": list(level_names),
        "shard_size": shard_size,
    }
    if (folder / _INDEX).exists():
        raise FileExistsError(
            f"{folder} has a complete set of codes already. Choose another "
            "folder."
        )
    shard = 0
    while (path := _shard_path(folder, shard)).exists():
        if _read_header(path) != header:
            raise FileExistsError(
                f"{path} is of another run: {_read_header(path)} instead of "
                f"{header}. Choose another folder."
            )
        shard += 1
    total = shard * shard_size
    pending, count = [], 0

    def write(parts):
        nonlocal shard, total
        codes, labels = zip(*parts, strict=True)
        arrays = {
            name: np.concatenate(level).astype("uint16")
            for name, level in zip(
                level_names, zip(*codes, strict=True), strict=True
            )
        }
        if labels[0] is not None:
            arrays["labels"] = np.concatenate(labels).astype("int32")
        with atomic_path(_shard_path(folder, shard)) as temporary:
            safetensors.numpy.save_file(
                arrays, temporary, metadata={"header": json.dumps(header)}
            )
        shard += 1
        total += len(arrays[level_names[0]])

    for codes, labels in batches(total):
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
    if not total:
        raise ValueError("There are no images to extract codes from.")
    index = {**header, "num_images": total, "num_shards": shard}
    with atomic_path(folder / _INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=2) + "\n")
    return total


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
        ValueError: If a file is damaged.
    """
    folder = pathlib.Path(folder)
    if not (folder / _INDEX).is_file():
        raise FileNotFoundError(
            f"{folder} has no complete set of codes: there is no {_INDEX}. "
            "`keras-vqvae2 extract-codes` writes one, or completes an "
            "interrupted one."
        )
    index = json.loads((folder / _INDEX).read_text())
    if not isinstance(index, dict) or index.get("format") != _FORMAT:
        raise ValueError(f"{folder / _INDEX} is not the index of code shards.")
    shards = []
    for i in range(index["num_shards"]):
        path = _shard_path(folder, i)
        _read_header(path)
        shards.append(safetensors.numpy.load_file(path))
    names = [*index["levels"]] + ["labels"] * ("labels" in shards[0])
    try:
        arrays = {
            name: np.concatenate([shard[name] for shard in shards])
            for name in names
        }
    except (KeyError, ValueError) as error:
        raise ValueError(f"{folder} is damaged: {error}") from error
    labels = arrays.pop("labels", None)
    for name, level in arrays.items():
        if (
            len(level) != index["num_images"]
            or level.max() >= (index["num_embeddings"])
        ):
            raise ValueError(f"{folder} is damaged: level {name!r}.")
    return arrays, labels, index


def code_dataset(
    codes,
    labels,
    batch_size,
    *,
    training=True,
    seed=0,
    start_step=0,
    drop_remainder=False,
    shard=(0, 1),
):
    """Batches for a `PixelSNAILPrior`.

    With `training=True` the dataset is infinite: each epoch is one pass over
    the images in a new order, and batch `k` depends on the arguments and `k`
    only. Otherwise each image comes once, in order.

    Args:
        codes: Sequence of integer arrays `(images, height_i, width_i)`, coarse
            to fine; the last one is the prior's own level.
        labels: Integer array `(images,)`, or None.
        batch_size: Number of images in a batch, over all workers.
        training: Whether to shuffle and repeat forever.
        seed: Integer in `0 <= seed < 2**63`: seeds the order of the images.
        start_step: Index of the first training batch.
        drop_remainder: Whether validation drops a last, smaller batch.
        shard: `(index, count)`: worker `index` gets every `count`-th example
            of each batch, starting at `index`; `count` divides `batch_size`.

    Returns:
        `tf.data.Dataset` of dicts: `"codes"`, a tuple of int32 tensors
        `(batch, height_i, width_i)`, and `"labels"`, int32 `(batch,)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    codes = (np.zeros((5, 2, 2), "int32"), np.ones((5, 4, 4), "int32"))
    dataset = keras_vqvae2.data.code_dataset(codes, None, batch_size=2)
    batch = next(iter(dataset))
    assert batch["codes"][1].shape == (2, 4, 4)
    ```
    """
    check_integer("batch_size", batch_size, maximum=_MAX_BATCH)
    check_integer("start_step", start_step, minimum=0)
    if check_integer("seed", seed, minimum=0) >= SEED_LIMIT:
        raise ValueError(f"`seed` must be below 2**63. Received: {seed}")
    size = len(codes[0])

    _pipeline.leave_gpu_alone()
    arrays = {"codes": tuple(tf.constant(level) for level in codes)}
    if labels is not None:
        arrays["labels"] = tf.constant(labels)
    seed = tf.constant(seed, tf.int64)

    def gather(images):
        return tf.nest.map_structure(
            lambda array: tf.cast(tf.gather(array, images), tf.int32), arrays
        )

    index, count = shard
    if not training:
        if drop_remainder:
            size = size // batch_size * batch_size
        dataset = (
            tf.data.Dataset.range(index, size, count)
            .batch(batch_size // count, drop_remainder)
            .map(gather)
        )
        return _pipeline.with_options(dataset)

    def shuffled(step):
        epoch, position = step // size, step % size
        return tf.random.experimental.index_shuffle(
            position, tf.stack([seed, epoch]), tf.constant(size - 1, tf.int64)
        )

    dataset = (
        tf.data.Dataset.counter(start_step * batch_size + index, step=count)
        .map(shuffled)
        .batch(batch_size // count, drop_remainder=True)
        .map(gather)
    )
    return _pipeline.with_options(dataset)


def _shard_path(folder, number):
    return folder / f"codes-{number:05}.safetensors"


def _read_header(path):
    open_regular(path).close()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return json.loads((file.metadata() or {})["header"])
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a whole shard: {error}") from error

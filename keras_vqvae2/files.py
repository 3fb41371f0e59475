"""Atomic files, and weights by stable names (safetensors)."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile

import keras
import numpy as np
import safetensors
import safetensors.numpy


@contextlib.contextmanager
def atomic_path(path):
    """A temporary path that becomes `path` when the block ends without error.

    A kill at any moment leaves the old file or the new one, never a part of
    one: the temporary file lies in the same folder, is flushed to the disk
    and then renamed.

    Args:
        path: Path of the file to write or replace.

    Yields:
        `pathlib.Path` to write to.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=f".tmp{path.suffix}"
    )
    os.close(handle)
    temporary = pathlib.Path(temporary)
    try:
        yield temporary
        # mkstemp makes files private; a new file gets the usual mode.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_numpy(variable):
    """NumPy copy of a Keras variable; a scalar stays one."""
    # A copy, since NumPy 2 warns of TensorFlow's variables.
    return np.array(
        keras.ops.convert_to_numpy(keras.ops.copy(variable)), order="C"
    )


def _previous_folder(path):
    return path.with_name(f".{path.name}.previous")


def settled_folder(path):
    """Where a folder that `atomic_folder` writes can be read from.

    Between the two renames of `atomic_folder` the old folder has another
    name. This is `path`, or the old folder if a kill came in just then.
    """
    path = pathlib.Path(path)
    if path.exists() or not path.name:
        return path
    previous = _previous_folder(path)
    return previous if previous.is_dir() else path


@contextlib.contextmanager
def atomic_folder(path):
    """A temporary folder that becomes `path` when the block ends without error.

    What lies in the old folder and was not written anew is kept. A kill at
    any moment leaves the old folder or the new one: `settled_folder` says
    where.

    Args:
        path: Path of the folder to write or replace.

    Yields:
        `pathlib.Path` of an empty folder to write to.
    """
    path = pathlib.Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    previous = _previous_folder(path)
    if settled_folder(path) == previous:
        previous.rename(path)
    with tempfile.TemporaryDirectory(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"
    ) as temporary:
        new = pathlib.Path(temporary, path.name)
        new.mkdir()
        yield new
        if path.exists():
            for entry in path.iterdir():
                if not (new / entry.name).exists():
                    _link(entry, new / entry.name)
            shutil.copymode(path, new)
            # Here only if a kill came before the last line of this function.
            shutil.rmtree(previous, ignore_errors=True)
            path.rename(previous)
        new.rename(path)
    shutil.rmtree(previous, ignore_errors=True)


def _link(source, target):
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source, target):
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target, follow_symlinks=False)


def sha256(path):
    """Hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sha256sums(folder, names):
    """Writes `SHA256SUMS` of some files, as the tool `sha256sum` does.

    Args:
        folder: Folder of the files and of `SHA256SUMS`.
        names: Names of the files.
    """
    folder = pathlib.Path(folder)
    lines = [f"{sha256(folder / name)}  {name}\n" for name in names]
    with atomic_path(folder / "SHA256SUMS") as temporary:
        temporary.write_text("".join(lines), "utf-8")


def read_sha256sums(path):
    """Hashes by file name of a `SHA256SUMS` file.

    Raises:
        ValueError: If the file is not one.
    """
    with open(path, "rb") as file:
        text = file.read(65536).decode("utf-8", "replace")
    sums = {}
    for line in text.splitlines():
        match = re.fullmatch(r"([0-9a-f]{64}) [ *]([^/\\]+)", line)
        if match is None:
            raise ValueError(f"{path} is not a list of SHA-256 sums.")
        sums[match[2]] = match[1]
    return sums


def weight_names(model):
    """Names of `model.weights`, the same for every instance and backend.

    For example `encoder_bottom/downsample_0/kernel`: the path of each weight
    without the name of the model itself.
    """
    names = [weight.path.split("/", 1)[1] for weight in model.weights]
    if len(set(names)) != len(names):
        raise ValueError(f"{model.name} has weights of the same name.")
    return names


def save_weights(model, path):
    """Writes a model's weights to a safetensors file, atomically.

    Args:
        model: Keras model.
        path: Path of the file, ending in `.safetensors`.
    """
    arrays = {
        name: to_numpy(weight)
        for name, weight in zip(weight_names(model), model.weights, strict=True)
    }
    with atomic_path(path) as temporary:
        safetensors.numpy.save_file(arrays, temporary)


def load_weights(model, path):
    """Reads a model's weights from a safetensors file.

    Every name, shape and dtype must be as expected; nothing is assigned
    otherwise.

    Args:
        model: Keras model.
        path: Path of the file.

    Raises:
        ValueError: If the file is no safetensors file, lacks a weight, has
            one too many, or one of another shape or dtype.
    """
    weights = dict(zip(weight_names(model), model.weights, strict=True))
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = set(file.keys())
            if found != set(weights):
                missing = sorted(set(weights) - found)
                unknown = sorted(found - set(weights))
                raise ValueError(
                    f"{path} does not fit {type(model).__name__}: "
                    f"missing {missing[:5]}, unknown {unknown[:5]} "
                    f"({len(missing)} and {len(unknown)} in all)."
                )
            arrays = {}
            for name, weight in weights.items():
                array = file.get_tensor(name)
                expected = (tuple(weight.shape), str(weight.dtype))
                if (array.shape, str(array.dtype)) != expected:
                    raise ValueError(
                        f"{path}: {name} must be {expected[1]} of shape "
                        f"{expected[0]}. Received {array.dtype} of shape "
                        f"{array.shape}."
                    )
                arrays[name] = array
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file: {error}"
        ) from error
    for name, array in arrays.items():
        weights[name].assign(array)

"""Atomic files and folders, and their SHA-256 sums."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile


@contextlib.contextmanager
def atomic_path(path):
    """A temporary path that becomes `path` when the block ends without error.

    A process that is killed at any moment leaves the old file or the new one,
    never a part: the temporary file lies in the same folder, is flushed to the
    disk and then renamed.

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


def _previous_folder(path):
    return path.with_name(f".{path.name}.previous")


def settled_folder(path):
    """Where to read a folder that `atomic_folder` writes.

    Between the two renames of `atomic_folder` the old folder has another
    name. This is `path`, or that old folder if the process was killed then.
    """
    path = pathlib.Path(path)
    if path.exists() or not path.name:
        return path
    previous = _previous_folder(path)
    return previous if previous.is_dir() else path


@contextlib.contextmanager
def atomic_folder(path, is_dropped=lambda name: False):
    """A temporary folder that becomes `path` when the block ends without error.

    Files of the old folder that were not written again are kept. A process
    that is killed at any moment leaves the old folder or the new one, where
    `settled_folder` says.

    Args:
        path: Path of the folder to write or replace.
        is_dropped: Function that says of the name of a file of the old folder
            whether it is left out of the new one.

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
                if not ((new / entry.name).exists() or is_dropped(entry.name)):
                    _link(entry, new / entry.name)
            shutil.copymode(path, new)
            # There only if a process was killed before the last line below.
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
        if match[2] in sums:
            raise ValueError(f"{path} lists {match[2]!r} twice.")
        sums[match[2]] = match[1]
    return sums

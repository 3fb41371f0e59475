"""Files to read and to write, atomically, and their SHA-256 sums."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import stat
import tempfile

# A name has at most 255 bytes; names of temporary files are somewhat longer.
_MAX_NAME = 100


def shown(path):
    """A path as text of one line, whatever a terminal makes of its name."""
    return "".join(
        char if char.isprintable() else ascii(char)[1:-1]
        for char in os.fsdecode(path)
    )


def open_regular(path):
    """A file, open for reading bytes, if it is a regular one.

    Reading a pipe or a device may never end.

    Args:
        path: Path of the file, or of a link to one.

    Raises:
        OSError: If it is none, or `open` raises it.
    """

    def opener(path, flags):
        # Without, to open a pipe is to wait for one who writes.
        return os.open(path, flags | os.O_NONBLOCK)

    file = open(os.fspath(path), "rb", opener=opener)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(f"{os.fsdecode(path)} is not a regular file.")
    return file


def check_writable(path, folder=False):
    """Raises OSError now if writing would fail later, after the work.

    Nothing is created.

    Args:
        path: Path of a file that will be written. Neither it nor its folder
            need exist.
        folder: Whether it is a folder that files will be written into.

    Raises:
        OSError: If the path is of something else, or the folder cannot be
            made or written to.
    """
    path = pathlib.Path(path)
    if not folder and path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "not a regular file"
        raise IsADirectoryError(f"{path} is {what}: name a file to write.")
    for place in (path, *path.parents):
        try:
            os.lstat(place)  # a name that is too long raises another error
        except (FileNotFoundError, NotADirectoryError):
            continue
        if place == path and not folder:
            continue
        if not place.is_dir():
            raise NotADirectoryError(
                f"{place} is not a folder: nothing can be written into it."
            )
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"The folder {place} cannot be written to.")
        return


def _temporary_name(name):
    """The name itself, or a shorter one that tells it from others."""
    encoded = os.fsencode(name)
    if len(encoded) <= _MAX_NAME:
        return name
    return hashlib.sha256(encoded).hexdigest()


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
        dir=path.parent,
        prefix=f".{_temporary_name(path.name)}.",
        # Some libraries go by the extension.
        suffix=f".tmp{_temporary_name(path.suffix)[:16]}",
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
    return path.with_name(f".{_temporary_name(path.name)}.previous")


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
        dir=path.parent,
        prefix=f".{_temporary_name(path.name)}.",
        suffix=".tmp",
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
        sums[match[2]] = match[1]
    return sums

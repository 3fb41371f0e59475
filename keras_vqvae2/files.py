"""Files to read and to write, atomically, and their SHA-256 sums."""

import contextlib
import errno
import functools
import hashlib
import os
import pathlib
import re
import shutil
import stat
import tempfile
import time

try:
    import fcntl
except ImportError:  # Windows, which has no locks of folders
    fcntl = None

# A name has at most 255 bytes; names of temporary files are somewhat longer.
_MAX_NAME = 100
_TEMPORARY = re.compile(r"\.(.+)\.\w{8}\.tmp(\.[^.]*)?", re.DOTALL)


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
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

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
    disk and then renamed. What killed processes left there before is removed.

    Args:
        path: Path of the file to write or replace.

    Yields:
        `pathlib.Path` to write to.

    Raises:
        OSError: With the name of the file, if the disk is full.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    left_behind = _left_behind(path.parent)
    _remove_orphans(left_behind.pop(_temporary_name(path.name), ()))
    with _name_in_error(path):
        handle, temporary = _locked_file(path)
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
            _close(handle)
            temporary.unlink(missing_ok=True)


# No space, more than one may use, or larger than files may be.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def _name_in_error(path):
    """Says what a full disk has no room for, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        full = OSError(
            f"{path} could not be written: {os.strerror(error.errno)}. What "
            "was there before is unchanged."
        )
        full.errno = error.errno  # a folder around it has the better name
        raise full from error


def settled_folder(path):
    """Where to read a folder that `atomic_folder` writes.

    Between the two renames of `atomic_folder` the old folder has another
    name. This is `path`, or that old folder if a process is, or was killed,
    there. A folder that was deleted has none.
    """
    path = pathlib.Path(path)
    if path.exists() or not path.name:
        return path
    for temporary in _temporaries(path):
        # With the new folder still there, the second rename has not been.
        if (temporary / _PREVIOUS).is_dir() and (temporary / _NEW).is_dir():
            return temporary / _PREVIOUS
    return path


@contextlib.contextmanager
def atomic_folder(path, is_dropped=lambda name: False):
    """A temporary folder that becomes `path` when the block ends without error.

    Files of the old folder that were not written again are kept. A process
    that is killed at any moment leaves the old folder or the new one, where
    `settled_folder` says. Of processes that write one folder at a time, the
    last one counts. What killed processes left there before is removed.

    Args:
        path: Path of the folder to write or replace.
        is_dropped: Function that says of the name of a file of the old folder
            whether it is left out of the new one.

    Yields:
        `pathlib.Path` of an empty folder to write to.

    Raises:
        TimeoutError: If another process has been about to replace the folder
            for half a minute.
    """
    path = pathlib.Path(path).resolve()
    with _name_in_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _only_one(path.parent):
            _settle(path)
            _remove_orphans(_temporaries(path))
            temporary = pathlib.Path(
                tempfile.mkdtemp(
                    dir=path.parent, prefix=_prefix(path), suffix=".tmp"
                )
            )
            handle = None
            if fcntl is not None:
                handle = os.open(temporary, os.O_RDONLY)
                _lock(handle)
        try:
            new = temporary / _NEW
            new.mkdir()
            yield new
            with _only_one(path.parent):
                _settle(path)
                if path.exists():
                    for entry in path.iterdir():
                        if not (
                            (new / entry.name).exists()
                            or is_dropped(entry.name)
                        ):
                            _link(entry, new / entry.name)
                    shutil.copymode(path, new)
                    path.rename(temporary / _PREVIOUS)
                new.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _close(handle)


# Inside of the temporary folder beside a folder that is replaced.
_NEW, _PREVIOUS = "new", "previous"
_PATIENCE = 30.0  # seconds


def _prefix(path):
    return f".{_temporary_name(path.name)}."


def _temporaries(path):
    """What `atomic_folder` of a path writes to, or left."""
    name = _temporary_name(path.name)
    return _list_temporaries(path.parent).get(name, [])


def _list_temporaries(folder):
    """Temporary files and folders in a folder, by the name they are for."""
    found = {}
    # A folder that is not there, or must not be listed, has none for us.
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            if match := _TEMPORARY.fullmatch(name):
                found.setdefault(match[1], []).append(folder / name)
    return found


# A process may write thousands of files to a folder: it looks once what
# others left there.
_left_behind = functools.lru_cache(maxsize=64)(_list_temporaries)


def _locked_file(path):
    """`(handle, path)` of a new temporary file that is locked.

    Without locks the handle is None: Windows renames no open file.
    """
    while True:
        handle, temporary = tempfile.mkstemp(
            dir=path.parent,
            prefix=_prefix(path),
            # Some libraries go by the extension.
            suffix=f".tmp{_temporary_name(path.suffix)[:16]}",
        )
        if fcntl is None:
            os.close(handle)
            return None, pathlib.Path(temporary)
        # Until it is locked, another process may take it for left behind.
        if _lock(handle) is not False and os.fstat(handle).st_nlink:
            return handle, pathlib.Path(temporary)
        os.close(handle)


def _settle(path):
    """Ends what a process that was killed between two renames began."""
    settled = settled_folder(path)
    if settled != path:
        settled.rename(path)


def _remove_orphans(temporaries):
    """Removes those of killed processes: nobody holds their locks."""
    if fcntl is None:
        return
    for temporary in temporaries:
        with contextlib.suppress(OSError):
            # Without the flag, to open a pipe is to wait for one who writes.
            handle = os.open(temporary, os.O_RDONLY | os.O_NONBLOCK)
            try:
                if _lock(handle):
                    if temporary.is_dir():
                        shutil.rmtree(temporary, ignore_errors=True)
                    else:
                        temporary.unlink(missing_ok=True)
            finally:
                os.close(handle)


def _lock(handle):
    """Takes the lock of an open file or folder.

    It is ours until the handle is closed or the process ends, in whatever way.

    Returns:
        True, False if another process has it, or None if there are no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without
        return None
    return True


def _close(handle):
    if handle is not None:
        os.close(handle)


@contextlib.contextmanager
def _only_one(folder):
    """One process at a time, where the file system has locks."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        deadline = time.monotonic() + _PATIENCE
        while _lock(handle) is False:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"Another process has been writing to {folder} for "
                    f"{_PATIENCE:.0f} seconds. Try again when it has ended."
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(handle)


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

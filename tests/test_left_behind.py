"""Several processes that write one place, and what killed ones leave."""

import fcntl
import os
import threading

import pytest

from keras_vqvae2 import files

pytestmark = pytest.mark.once


def save(folder, text):
    with files.atomic_folder(folder) as new:
        for name in ("a", "b"):
            (new / name).write_text(text)


def test_files_of_killed_processes_are_removed(tmp_path):
    left = tmp_path / ".file.bin.abcd_123.tmp.bin"
    alive = tmp_path / ".file.bin.efgh_123.tmp.bin"
    others = [
        tmp_path / name
        for name in (
            ".file.abcd_123.tmp.bin",
            ".file.bin.tmp.bin",
            ".file.bin.abcd_123.tmp.bin.txt",
            ".file.bin.abcd_12.tmp.bin",
            "file.bin.abcd_123.tmp.bin",
        )
    ]
    for path in (left, alive, *others):
        path.write_text("left")
    os.mkfifo(tmp_path / ".file.bin.ijkl_123.tmp.bin")
    with open(alive) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with files.atomic_path(tmp_path / "file.bin") as temporary:
            temporary.write_text("new")
    names = {path.name for path in (alive, *others)} | {"file.bin"}
    assert set(os.listdir(tmp_path)) == names


def test_names_of_the_greatest_length(tmp_path):
    for name in ("x" * 251 + ".bin", "." + "x" * 254):
        for _ in range(2):
            with files.atomic_path(tmp_path / name) as temporary:
                temporary.write_text("new")
    save(tmp_path / ("y" * 255), "new")
    assert len(os.listdir(tmp_path)) == 3


def test_folders_of_killed_processes_are_removed(tmp_path):
    for name in (".model.abcd_123.tmp", ".model.efgh_123.tmp"):
        (tmp_path / name / "new").mkdir(parents=True)
        (tmp_path / name / "new" / "a").write_text("half")
    alive = os.open(tmp_path / ".model.efgh_123.tmp", os.O_RDONLY)
    fcntl.flock(alive, fcntl.LOCK_EX)
    save(tmp_path / "model", "1")
    assert sorted(os.listdir(tmp_path)) == [".model.efgh_123.tmp", "model"]
    os.close(alive)
    save(tmp_path / "model", "2")
    assert os.listdir(tmp_path) == ["model"]


def test_a_deleted_folder_does_not_come_back(tmp_path):
    """Killed after the second rename, while the old folder is deleted."""
    left = tmp_path / ".model.abcd_123.tmp" / "previous"
    left.mkdir(parents=True)
    (left / "a").write_text("old")
    assert files.settled_folder(tmp_path / "model") == tmp_path / "model"
    save(tmp_path / "model", "new")
    assert os.listdir(tmp_path) == ["model"]


def test_writers_of_one_folder_wait_for_each_other(tmp_path):
    folder, errors, ended = tmp_path / "model", [], threading.Event()
    save(folder, "first")

    def write(number):
        try:
            for i in range(60):
                save(folder, f"{number} {i}")
        except OSError as error:
            errors.append(error)

    def read():
        while not ended.is_set():
            try:
                settled = files.settled_folder(folder)
                texts = {(settled / name).read_text() for name in "ab"}
            except FileNotFoundError:  # replaced in the meantime
                continue
            if files.settled_folder(folder) == settled and "" in texts:
                errors.append(texts)

    writers = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    reader = threading.Thread(target=read)
    for thread in (*writers, reader):
        thread.start()
    for thread in writers:
        thread.join()
    ended.set()
    reader.join()
    assert not errors
    assert os.listdir(tmp_path) == ["model"]


def test_patience_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_PATIENCE", 0.05)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(TimeoutError, match="Another process has been writing"):
        save(tmp_path / "model", "new")
    os.close(handle)
    save(tmp_path / "model", "new")
    assert os.listdir(tmp_path) == ["model"]


def test_without_locks(tmp_path, monkeypatch):
    def flock(handle, operation):
        raise OSError("Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".model.abcd_123.tmp").mkdir()
    save(tmp_path / "model", "1")
    save(tmp_path / "model", "2")
    assert (tmp_path / "model" / "a").read_text() == "2"
    # Nobody knows whether its process is alive.
    assert (tmp_path / ".model.abcd_123.tmp").exists()


def test_on_a_system_without_locks(tmp_path, monkeypatch):
    """As on Windows, where an open file cannot be renamed."""
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".a.abcd_123.tmp").write_text("perhaps of one that runs")
    for text in ("1", "2"):
        with files.atomic_path(tmp_path / "a") as temporary:
            temporary.write_text(text)
        assert (tmp_path / "a").read_text() == text
        save(tmp_path / "model", text)
        assert (tmp_path / "model" / "b").read_text() == text
    assert sorted(os.listdir(tmp_path)) == [".a.abcd_123.tmp", "a", "model"]

"""Nothing is lost, and no work done in vain, for a badly chosen output."""

import os
import shutil

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image

# No such model: what is refused is refused before one is looked for.
NO_MODEL = ("--model", "./no-model")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder of inputs that has become the current one."""
    monkeypatch.chdir(tmp_path)
    for i, name in enumerate(("x.png", "d/a.png", "d/b.png", "e/A.png")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, 50, 99)).save(path)
    (tmp_path / "link.png").symlink_to("x.png")
    (tmp_path / "hard.png").hardlink_to("x.png")
    (tmp_path / "links").symlink_to("d")
    (tmp_path / "file").write_text("a file")
    (tmp_path / "x.codes").write_text("codes")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "locked").mkdir(mode=0o555)
    return tmp_path


def _contents(folder):
    return {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _refused(capsys, *argv):
    """The one line on stderr of a command that fails with exit code 2."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-vqvae2: error: ")
    assert error.count("\n") == 1
    return error


LONG = "n" * 256
TAKEN = "would be replaced: name another --output, or allow it by --overwrite"
INPUT = "would replace the input"
NO_FOLDER = "is not a folder: nothing can be written into it"
IMAGE = "name a .png, .jpg, .jpeg, .webp file"


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("reconstruct x.png -o x.png", f"x.png {INPUT} x.png"),
        ("reconstruct x.png -o x.png --overwrite", INPUT),
        ("reconstruct x.png -o ./d/../x.png --overwrite", INPUT),
        ("reconstruct x.png -o link.png --overwrite", f"link.png {INPUT}"),
        ("reconstruct x.png -o hard.png --overwrite", f"hard.png {INPUT}"),
        ("reconstruct link.png -o x.png --overwrite", INPUT),
        ("reconstruct d -o d --overwrite", f"d/a.png {INPUT} d/a.png"),
        ("reconstruct d -o links --overwrite", f"links/a.png {INPUT}"),
        ("reconstruct d/a.png -o d --overwrite", INPUT),
        ("reconstruct d/a.png -o x.png", f"x.png {TAKEN}"),
        ("reconstruct d/a.png", f"reconstruction.png {TAKEN}"),
        ("reconstruct x.png -o new.xyz", f"new.xyz: {IMAGE} or a folder"),
        ("reconstruct x.png -o new.codes", f"new.codes: {IMAGE} or a folder"),
        ("reconstruct d -o new.png", "2 inputs do not fit into the file"),
        ("reconstruct x.png -o file", f"file {NO_FOLDER}"),
        ("reconstruct x.png -o file/a/b.png", f"file {NO_FOLDER}"),
        ("reconstruct x.png -o /dev/null", f"/dev/null {NO_FOLDER}"),
        ("reconstruct x.png -o pipe.png", "pipe.png is not a regular file"),
        (f"reconstruct x.png -o {LONG}.png", "File name too long"),
        (f"reconstruct x.png -o {LONG}/x.png", "File name too long"),
        ("encode x.png -o x.png", "name a .codes file or a folder"),
        ("encode x.png -o x.codes", f"x.codes {TAKEN}"),
        ("encode x.png -o .", f"x.codes {TAKEN}"),
        ("encode x.png -o d/a.png/x", f"d/a.png {NO_FOLDER}"),
        ("decode x.codes -o .", f"x.png {TAKEN}"),
        ("decode x.codes -o x.codes", f"x.codes: {IMAGE} or a folder"),
        ("decode x.codes -o x.png", f"x.png {TAKEN}"),
        ("generate --num-images 1 -o file", f"file {NO_FOLDER}"),
        ("generate --num-images 1 -o x.png", f"x.png {NO_FOLDER}"),
        ("generate --num-images 1 -o g --grid g.xyz", f"g.xyz: {IMAGE}."),
        ("generate --num-images 1 -o g --grid g", f"--grid is g: {IMAGE}."),
        ("generate --num-images 1 -o g --grid x.png", f"x.png {TAKEN}"),
        ("generate --num-images 1 -o g --grid folder.png", "is a folder"),
        ("generate --num-images 2 -o taken", f"taken/00001.png {TAKEN}"),
        ("generate --labels 1 2 -o taken", f"taken/00001.png {TAKEN}"),
        (
            "generate --num-images 1 -o g --grid g/00000.png",
            "g/00000.png would be written twice",
        ),
        (
            "generate -o g --labels 1 2 --num-images 3",
            "must say one number of images",
        ),
        ("generate --num-images 99999999999 -o g", "at most 1048576"),
    ],
)
def test_refused_before_anything_is_loaded(capsys, files, command, message):
    (files / "taken").mkdir()
    for name in ("reconstruction.png", "taken/00001.png"):
        shutil.copy(files / "x.png", files / name)
    os.mkfifo(files / "pipe.png")
    before = _contents(files)
    assert message in _refused(capsys, *command.split(), *NO_MODEL)
    assert _contents(files) == before


@pytest.mark.once
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(capsys, files):
    argv = ("encode", "x.png", "-o", "locked/below", *NO_MODEL)
    assert "locked cannot be written to" in _refused(capsys, *argv)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_model().save_pretrained(folder)
    return str(folder)


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("extract-codes --data d --output file", f"file {NO_FOLDER}"),
        ("extract-codes --data d --output file/x", f"file {NO_FOLDER}"),
        ("train-context --codes none --output file/x", f"file {NO_FOLDER}"),
        (
            "train-prior --level top --initial --codes none --output file",
            f"file {NO_FOLDER}",
        ),
        ("evaluate --test-data d --features none --output file", NO_FOLDER),
        ("train --data none --initial-weights MODEL --output file", NO_FOLDER),
        ("generate --num-images 1 --seed -1 -o g", "--seed must be an integer"),
        (f"generate --num-images 1 --seed {2**63} -o g", "--seed must be"),
        (f"generate --num-images 1 --seed {2**64} -o g", "--seed must be"),
        (
            "extract-codes --data d --output g --batch-size 1000000000",
            "more than 16 GiB of pixels: pass a smaller --batch-size",
        ),
        (
            "evaluate --test-data d --features none --output g --num-samples "
            "99999999999",
            "--num-samples must be an integer of at least 0 and at most",
        ),
        (
            f"evaluate --test-data d --features none --output g --seed {2**63}",
            "--seed must be",
        ),
    ],
)
def test_refused_before_any_work(
    capsys, files, model, monkeypatch, command, message
):
    def work(*args, **kwargs):
        raise AssertionError("work was done")

    monkeypatch.setattr("keras_vqvae2.VQVAE2.encode", work)
    before = _contents(files)
    argv = command.replace("MODEL", model).split()
    if argv[0] != "train":
        argv += ["--model", model]
    assert message in _refused(capsys, *argv)
    assert _contents(files) == before


@pytest.mark.once
def test_overwrite(files, model):
    named = ["--model", model, "--overwrite"]
    assert main(["encode", "x.png", "-o", "x.codes", *named]) == 0
    assert main(["decode", "x.codes", "-o", "d/a.png", *named]) == 0
    expected = keras_vqvae2.from_pretrained(model).decompress(["x.codes"])[0]
    np.testing.assert_array_equal(load_image("d/a.png"), expected)


@pytest.mark.once
def test_names_of_outputs(files, model):
    """Of inputs of one name, whatever its case; and as long as can be."""
    argv = ["encode", "d", "e", "x.png", "-o", "out", "--model", model]
    assert main(argv) == 0
    names = sorted(os.listdir("out"))
    assert names == ["0-a.codes", "1-b.codes", "2-A.codes", "3-x.codes"]
    longest = "n" * 249 + ".codes"
    argv = ["encode", "x.png", "-o", f"out/{longest}", "--model", model]
    assert main(argv) == 0
    assert longest in os.listdir("out")

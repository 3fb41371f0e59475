"""One line and exit code 2, whatever names and files a command is given."""

import errno
import io
import os
import subprocess
import sys
import warnings

import keras
import pytest
from PIL import Image
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.data import image_folder_dataset


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (16, 16)).save("x.png")
    os.mkfifo("pipe.png")
    os.mkfifo("pipe.codes")
    for suffix in ("png", "codes", "tfrecords", "keras"):
        os.symlink("/dev/zero", f"zero.{suffix}")
    for name in ("bad/a.png", "bad/b.png", "x.keras"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("no image")
    # A record whose length fits and whose content does not.
    record = (16).to_bytes(8, "little") + bytes(4) + b"x" * 16 + bytes(4)
    (tmp_path / "bad.tfrecords").write_bytes(record)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    keras_vqvae2.VQVAE2(make_vqvae()).save_pretrained(folder)
    return str(folder)


def _fails(capsys, argv):
    """The last line on stderr; every line before it is a warning."""
    capsys.readouterr()
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(argv) == 2
    *others, error = capsys.readouterr().err.splitlines()
    for line in others:
        assert line.startswith(("keras-vqvae2: warning: Skipped", "[0 s]"))
    assert error.startswith("keras-vqvae2: error: ") and len(error) < 2500
    assert error.isprintable()
    return error


TRAIN = (
    "train --output out --image-size 16 --batch-size 2 --steps 2 --strides 4 2 "
    "--warmup-steps 0 --hidden-dim 8 --residual-dim 4 --num-embeddings 16 "
    "--embedding-dim 4 --data"
)
EXTRACT = "extract-codes --output out --image-size 16 --model MODEL --data"
EVALUATE = "evaluate --output out --image-size 16 --features none"


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("encode pipe.png -o out --model MODEL", "is not a regular file"),
        ("reconstruct zero.png -o a.png --model MODEL", "not a regular file"),
        ("decode pipe.codes -o out", "pipe.codes is not a regular file"),
        ("decode zero.codes -o out", "zero.codes is not a regular file"),
        ("info pipe.codes", "pipe.codes is not a regular file"),
        ("info zero.codes", "zero.codes is not a regular file"),
        ("info ~nouser/x", "'~nouser/x' is not a repository"),
        ("info ./~nouser/x", "There is no folder ./~nouser/x"),
        (f"info {'n' * 5000}", "File name too long"),
        (f"encode {'n' * 300}.png -o out", "There is no file or folder nnn"),
        (f"{TRAIN} bad.tfrecords", "has no records of RGB images"),
        (f"{TRAIN} zero.tfrecords", "There is no file zero.tfrecords"),
        (f"{EXTRACT} bad", "There are no images"),
        (f"{EVALUATE} --test-data bad --model MODEL", "no readable image"),
        (
            "generate -o g --num-images 1 --classifier x.keras "
            "--num-candidates 2",
            "x.keras could not be loaded",
        ),
        (
            "generate -o g --num-images 1 --classifier zero.keras "
            "--num-candidates 2",
            "There is no classifier zero.keras",
        ),
    ],
)
def test_one_line(capsys, files, model, command, message):
    assert message in _fails(capsys, command.replace("MODEL", model).split())
    assert not (files / "out").exists() or not os.listdir(files / "out")


@pytest.mark.once
def test_validation_without_an_image(capsys, files):
    (files / "good").mkdir()
    os.rename("x.png", "good/x.png")
    argv = f"{TRAIN} good --validation-data bad".split()
    assert "bad has no readable image" in _fails(capsys, argv)


@pytest.mark.once
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ValueError("a\n\x1b[31mb\x07 \udcff\u202e"),
            r"a \x1b[31mb\x07 \udcff\u202e",
        ),
        (ValueError("n" * 10**6), "n" * 1000 + " ... " + "n" * 1000),
        (MemoryError("745 GiB"), "There is not enough memory. 745 GiB"),
        (OverflowError("too large"), "too large"),
        (BrokenPipeError(errno.EPIPE, "x"), "standard output was closed"),
    ],
)
def test_messages_of_others(capsys, monkeypatch, error, message):
    def run(args):
        raise error

    monkeypatch.setattr("keras_vqvae2.cli.list.run", run)
    assert message in _fails(capsys, ["list"])


@pytest.mark.once
@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("nonsense", "invalid choice: 'nonsense'"),
        ("encode", "the following arguments are required: images"),
        (
            "list \x1b[31m\n",
            r"unrecognized arguments: \x1b[31m; see keras-vqvae",
        ),
        (f"list {'n' * 10**6}", "n ... n"),
        ("generate -o g --num-images 0", "--num-images: must be positive"),
        (f"generate -o g --top-k {10**30}", "--top-k: must be positive and b"),
        ("generate -o g --seed x", "--seed: invalid int value: 'x'"),
    ],
)
def test_options(capsys, command, message):
    with pytest.raises(SystemExit) as exit_:
        main(command.split(" "))
    assert exit_.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-vqvae2: error: ") and message in error
    assert error.count("\n") == 1 and error[:-1].isprintable()
    assert len(error) < 2500


@pytest.mark.once
def test_errors_of_graphs(capsys, files, monkeypatch):
    def run(args):
        next(iter(image_folder_dataset("bad", 16, 2)))

    monkeypatch.setattr("keras_vqvae2.cli.list.run", run)
    error = _fails(capsys, ["list"])
    assert "No image in 2 files in a row" in error and "node" not in error


@pytest.mark.once
def test_names_are_printed_as_one_line(capsys, files, model):
    name = "a\x1b[31m\nb\udcff\u202e"
    os.rename("x.png", f"{name}.png")
    argv = ["encode", f"{name}.png", "-o", "out", "--model", model]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert r"a\x1b[31m\nb\udcff\u202e.png -> out/a" in out
    assert out.count("\n") == 1 and out[:-1].isprintable()
    assert os.listdir("out") == [f"{name}.codes"]
    assert main(["info", f"out/{name}.codes"]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 8 and out.replace("\n", "").isprintable()


PROGRAM = "import sys, keras_vqvae2_cli; sys.exit(keras_vqvae2_cli.main())"


@pytest.mark.once
@pytest.mark.parametrize(
    "command",
    ["--version 2>&-", "--version <&- >&- 2>&-", "--version | true"],
)
def test_closed_streams(command):
    result = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" {command}', sys.executable, PROGRAM],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.once
def test_output_that_cannot_be_written(capsys, monkeypatch):
    class Full(io.StringIO):
        def flush(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert "No space left" in _fails(capsys, ["list"])

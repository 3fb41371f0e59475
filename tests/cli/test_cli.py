import json
import os
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from tiny_models import VQVAE_SIZES
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import tiles
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image

TINY_OPTIONS = [
    word
    for name, value in VQVAE_SIZES.items()
    for word in (f"--{name.replace('_', '-')}", str(value))
]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    keras_vqvae2.VQVAE2(make_vqvae()).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, size in enumerate([(37, 50), (64, 64), (40, 33)]):
        image = rng.integers(0, 256, (*size, 3), dtype="uint8")
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def _fails(capsys, *argv):
    """The one line on stderr of a command that fails with exit code 2."""
    assert main([str(word) for word in argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith("keras-vqvae2: error: ")
    assert error.count("\n") == 1
    return error


def test_list_names_every_preset(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    assert "vqvae2-imagenet256" in out
    assert "no weights yet, train with examples/train_ffhq1024.py" in out


def test_info(capsys, model_folder):
    assert main(["info", model_folder]) == 0
    out = capsys.readouterr().out
    assert "num_embeddings: 16" in out
    assert "top 32x32, bottom 64x64" in out
    # (32^2 + 64^2) codes of 4 bits on 256^2 pixels
    assert "bits per pixel: 0.312" in out


def test_reconstruct_one(capsys, model_folder, photos, tmp_path):
    output = tmp_path / "out.png"
    argv = ["reconstruct", str(photos / "0.png"), "--model", model_folder]
    assert main([*argv, "-o", str(output)]) == 0
    out = capsys.readouterr().out
    picture = load_image(output)
    assert picture.shape == (37, 2 * 50 + 4, 3)
    image = load_image(photos / "0.png")
    np.testing.assert_array_equal(picture[:, :50], image)
    model = keras_vqvae2.from_pretrained(model_folder)
    expected = model.reconstruct(image[None])[0]
    np.testing.assert_array_equal(picture[:, 54:], expected)
    mse = np.mean((image.astype(float) - expected) ** 2)
    assert f"PSNR {10 * np.log10(255**2 / mse):.2f} dB" in out
    size = len(model.compress(image[None])[0])
    assert f"{8 * size / (37 * 50):.3f} bits per pixel" in out

    argv += ["--levels", "-o", str(output), "--overwrite"]
    assert main(argv) == 0
    assert load_image(output).shape == (37, 3 * 50 + 2 * 4, 3)


def test_a_large_image_goes_in_tiles(
    capsys, model_folder, photos, tmp_path, monkeypatch
):
    monkeypatch.setattr(tiles, "MAX_PIXELS", 1000)
    argv = ["reconstruct", str(photos / "0.png"), "--model", model_folder]
    assert main([*argv, "-o", str(tmp_path / "out.png")]) == 0
    err = capsys.readouterr().err
    assert "Encoded 100% of an image\nDecoded 100% of an image" in err


def test_reconstruct_folder(capsys, model_folder, photos, tmp_path):
    argv = ["reconstruct", str(photos), "--model", model_folder]
    assert main([*argv, "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "[3/3]" in out and "mean of 3: PSNR" in out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["0.png", "1.png", "2.png"]
    assert "name a folder" in _fails(capsys, *argv, "-o", tmp_path / "one.png")


def test_reconstruct_sample(capsys, model_folder, tmp_path):
    output = tmp_path / "out.png"
    argv = ["reconstruct", "--sample", "--model", model_folder]
    assert main([*argv, "-o", str(output)]) == 0
    assert load_image(output).shape == (600, 2 * 512 + 4, 3)


@pytest.mark.parametrize("levels", [None, 1])
def test_encode_and_decode(capsys, model_folder, photos, tmp_path, levels):
    codes, images = tmp_path / "codes", tmp_path / "images"
    argv = ["encode", str(photos), "--model", model_folder, "-o", str(codes)]
    assert main(argv) == 0
    out = capsys.readouterr().out
    size = (codes / "1.codes").stat().st_size
    # 64x64 pixels: 64 + 256 codes of 4 bits, or less
    assert size < 160 + 40
    source = (photos / "1.png").stat().st_size
    assert (
        f"1.codes, {size} bytes, {8 * size / 64**2:.3f} bits per pixel, "
        f"{source / size:.1f} times smaller than the source"
    ) in out
    argv = ["decode", str(codes), "-o", str(images), "--model", model_folder]
    argv += ["--levels", str(levels)] if levels else []
    assert main(argv) == 0
    model = keras_vqvae2.from_pretrained(model_folder)
    for i in range(3):
        image = load_image(photos / f"{i}.png")
        decoded = load_image(images / f"{i}.png")
        expected = model.reconstruct(image[None], levels=levels)[0]
        np.testing.assert_array_equal(decoded, expected)


def test_files_of_the_same_name(capsys, model_folder, photos, tmp_path):
    other = photos / "below"
    other.mkdir()
    (photos / "0.png").rename(other / "1.png")
    argv = ["encode", str(photos), "--model", model_folder]
    assert main([*argv, "-o", str(tmp_path / "codes")]) == 0
    assert len(list((tmp_path / "codes").iterdir())) == 3


def test_bad_input(capsys, model_folder, photos, tmp_path):
    out = tmp_path / "out.png"
    absent = tmp_path / "absent.png"
    text = tmp_path / "text.png"
    text.write_text("no image")
    model = ("--model", model_folder)
    assert "absent.png" in _fails(capsys, "reconstruct", absent, "-o", out)
    assert "No image given" in _fails(capsys, "reconstruct")
    assert "text.png" in _fails(capsys, "reconstruct", text, "-o", out, *model)
    error = _fails(capsys, "info", "vqvae2-imagenet257")
    assert "Did you mean 'vqvae2-imagenet256'" in error
    assert "examples/train_ffhq1024.py" in _fails(
        capsys, "info", "vqvae2-ffhq1024"
    )
    error = _fails(capsys, "decode", text, "-o", out)
    assert "text.png is not a code file" in error
    assert "no .codes files" in _fails(capsys, "decode", photos, "-o", out)
    codes = tmp_path / "a.codes"
    argv = ["encode", photos / "0.png", *model, "-o", codes]
    assert "--rate-weight must be a number" in _fails(
        capsys, *argv, "--rate-weight", -1
    )
    assert "nothing to code by the method 'context'" in _fails(
        capsys, *argv, "--method", "context"
    )
    assert not codes.exists()
    main([str(word) for word in argv])
    capsys.readouterr()
    assert "name 'tiny'" in _fails(capsys, "decode", codes, "-o", out)
    error = _fails(capsys, "decode", codes, "--levels", 3, "-o", out, *model)
    assert "--levels must be 1 to 2" in error
    assert not out.exists()
    with pytest.raises(SystemExit) as exit_:
        main(["decode", str(codes), "--levels", "0", "-o", str(out)])
    assert exit_.value.code == 2
    with pytest.raises(SystemExit) as exit_:
        main(["nonsense"])
    assert exit_.value.code == 2


def test_decode_with_another_model(capsys, model_folder, photos, tmp_path):
    codes = tmp_path / "a.codes"
    argv = ["encode", str(photos / "0.png"), "--model", model_folder]
    main([*argv, "-o", str(codes)])
    other = make_vqvae(num_embeddings=8)
    keras_vqvae2.VQVAE2(other).save_pretrained(tmp_path / "other")
    capsys.readouterr()
    argv = ("decode", codes, "-o", tmp_path / "out.png")
    error = _fails(capsys, *argv, "--model", tmp_path / "other")
    assert "(4, 2) and 16 embeddings" in error
    assert "choose the --model that made it, tiny" in error
    assert not (tmp_path / "out.png").exists()


def test_info_on_a_code_file(capsys, model_folder, photos, tmp_path):
    codes = tmp_path / "a.codes"
    argv = ["encode", str(photos / "0.png"), "--model", model_folder]
    assert main([*argv, "-o", str(codes), "--method", "raw"]) == 0
    capsys.readouterr()
    assert main(["info", str(codes)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "model: tiny"
    assert out[3:6] == [
        "method: raw",
        "image: 50x37",  # padded to 56x40: 35 and 140 codes of 4 bits
        "codes: 5x7, 10x14, of 16 embeddings",
    ]
    size = 88 + 4 + 1 + 4 + 5 + 8 + 2 + 1 + 1 + 4
    assert out[6] == f"bytes: {size}, {size / 87.5:.1%} of raw codes"
    assert "is not a code file" in _fails(capsys, "info", photos / "0.png")


def test_info_on_codes_that_say_nothing(capsys, tmp_path):
    vqvae = make_vqvae(num_embeddings=1)
    files = keras_vqvae2.VQVAE2(vqvae).compress(np.zeros((1, 8, 8, 3), "uint8"))
    (tmp_path / "a.codes").write_bytes(files[0])
    assert main(["info", str(tmp_path / "a.codes")]) == 0
    assert f"bytes: {len(files[0])}\n" in capsys.readouterr().out


def test_decode_takes_no_model_that_a_file_names(
    capsys, model_folder, photos, tmp_path, monkeypatch
):
    """Whoever made the file may have put a model there, too."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(model_folder, tmp_path / "tiny")
    shutil.copytree(model_folder, tmp_path, dirs_exist_ok=True)
    argv = ["encode", str(photos / "0.png"), "--model", model_folder]
    main([*argv, "-o", "a.codes"])
    capsys.readouterr()
    argv = ["decode", "a.codes", "-o", "a.png"]
    assert "name 'tiny', which is not a preset" in _fails(capsys, *argv)
    assert main([*argv, "--model", "tiny"]) == 0
    assert load_image(tmp_path / "a.png").shape == (37, 50, 3)


def test_train_context(capsys, model_folder, photos, tmp_path):
    shards, output = str(tmp_path / "shards"), tmp_path / "with-context"
    model = ["--model", model_folder]
    argv = ["extract-codes", *model, "--data", str(photos), "--output", shards]
    assert main([*argv, "--image-size", "32"]) == 0
    argv = ["train-context", *model, "--codes", shards]
    argv += ["--output", str(output), "--steps", "30", "--batch-size", "16"]
    argv += ["--num-neighbors", "4", "--hidden-dims", "8", "6"]
    argv += ["--embedding-dim", "4", "--coarse-dim", "4"]
    capsys.readouterr()
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "bottom: " in out and f"model: {output}" in out
    assert "exists: choose another --output" in _fails(capsys, *argv)
    more = ["train-context", *model, "--codes", shards, "--steps", "1"]
    more += ["--output", str(tmp_path / "more"), "--initial-context"]
    error = _fails(capsys, *more, model_folder)
    assert "has no context model" in error
    assert main([*more, str(output)]) == 0
    assert keras_vqvae2.from_pretrained(
        tmp_path / "more"
    ).context.config.hidden_dims == (8, 6)
    codes = tmp_path / "a.codes"
    argv = ["encode", str(photos / "1.png"), "--model", str(output)]
    argv += ["-o", str(codes), "--method", "context"]
    assert main(argv) == 0
    capsys.readouterr()
    assert main(["info", str(output)]) == 0
    assert "num_neighbors 4, coarse_radius 1" in capsys.readouterr().out
    image = tmp_path / "a.png"
    argv = ["decode", str(codes), "-o", str(image), "--model"]
    assert main([*argv, str(output)]) == 0
    decoded = load_image(image)
    plain = keras_vqvae2.from_pretrained(model_folder)
    np.testing.assert_array_equal(
        decoded, plain.reconstruct(load_image(photos / "1.png")[None])[0]
    )
    # The same weights without the context model are not enough.
    argv.insert(1, "--overwrite")
    assert "tiny does not have" in _fails(capsys, *argv, model_folder)
    smaller = tmp_path / "smaller.codes"
    argv = ["encode", str(photos / "1.png"), "--model", str(output)]
    argv += ["-o", str(smaller), "--rate-weight", "1"]
    assert main(argv) == 0
    assert smaller.stat().st_size < codes.stat().st_size


def _train_arguments(photos, output, steps, sizes=TINY_OPTIONS):
    return [
        "train",
        *("--data", str(photos), "--output", str(output)),
        *("--validation-data", str(photos)),
        *("--image-size", "16", "--batch-size", "2", "--steps", str(steps)),
        *("--steps-per-epoch", "4", "--decay-steps", "2"),
        *("--warmup-steps", "1", *sizes),
    ]


def test_train(capsys, photos, tmp_path):
    output = tmp_path / "run"
    assert main(_train_arguments(photos, output, 6)) == 0
    captured = capsys.readouterr()
    assert "Trained model" in captured.out
    assert "step 6: " in captured.err and "val_psnr" in captured.err
    assert {path.name for path in output.iterdir()} >= {
        "arguments.json",
        "checkpoint.safetensors",
        "history.csv",
        "model",
        "tensorboard",
    }
    model = keras_vqvae2.from_pretrained(output / "model")
    assert model.vqvae.num_embeddings == 16

    argv = _train_arguments(photos, output, 6)
    assert "Go on with it by --resume" in _fails(capsys, *argv)
    absent = _train_arguments(photos, tmp_path / "absent", 6)
    assert "nothing to resume" in _fails(capsys, *absent, "--resume")
    assert main([*_train_arguments(photos, output, 8), "--resume"]) == 0

    capsys.readouterr()
    start = ["--initial-weights", str(output / "model")]
    argv = _train_arguments(photos, tmp_path / "second", 3)
    assert "leave out hidden_dim" in _fails(capsys, *argv, *start)
    argv = _train_arguments(photos, tmp_path / "second", 3, sizes=())
    argv += [*start, "--optimizer", "adam", "--ema-momentum", "0.5"]
    assert main(argv) == 0
    second = tmp_path / "second"
    arrays = load_file(second / "checkpoint.safetensors")
    saved = load_file(second / "model" / "model.safetensors")
    averages = {
        name.split("/")[2].removesuffix("_average"): value
        for name, value in arrays.items()
        if name.endswith("_average")
    }
    assert len(averages) > 40
    for name, value in saved.items():
        average = averages.pop(name.replace("/", "_"), None)
        if average is not None:
            np.testing.assert_array_equal(value, average)
            if np.any(value):
                assert np.any(value != arrays[f"model/{name}"]), name
    assert not averages
    for folder, optimizer, learning_rate in (
        ("run", "muon", 1e-3),
        ("second", "adam", 3e-4),
    ):
        text = (tmp_path / folder / "arguments.json").read_text()
        arguments = json.loads(text)
        assert arguments["optimizer"] == optimizer
        assert arguments["learning_rate"] == learning_rate

    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    argv = [*_train_arguments(photos, output, 9), "--resume"]
    capsys.readouterr()
    message = _fails(capsys, *argv, "--optimizer", "adam")
    assert "does not fit this model and optimizer" in message
    assert before == {p: p.stat().st_mtime_ns for p in output.iterdir()}


def test_train_errors(capsys, photos, tmp_path):
    output = tmp_path / "run"
    argv = _train_arguments(photos, output, 6)
    argv[argv.index("--image-size") + 1] = "20"
    assert "multiple of 8" in _fails(capsys, *argv)
    argv = _train_arguments(tmp_path / "absent", output, 6)
    assert "absent" in _fails(capsys, *argv)
    argv = _train_arguments(photos, output, 6)
    assert "no preset 'x'" in _fails(capsys, *argv, "--preset", "x")
    for option, value, message in (
        ("--strides", 128, "--strides must be a list of"),
        (
            "--residual-dim",
            8193,
            "--residual-dim must be an integer in",
        ),
        ("--num-residual-blocks", 33, "--num-residual-blocks must be an"),
        ("--level-dropout", "nan", "--level-dropout must be a number"),
        ("--level-dropout", -1, "--level-dropout must be a number"),
        ("--level-dropout", 5, "--level-dropout must be a number"),
        ("--warmup-steps", 7, "must fit into --steps 6"),
        ("--validation-size", 20, "multiple of 8"),
    ):
        assert message in _fails(capsys, *argv, option, value)
    assert not output.exists()


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once is enough")
def test_a_signal_ends_a_training_with_a_checkpoint(
    capsys, photos, tmp_path, monkeypatch
):
    class Interrupted(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(
        keras_vqvae2.recipes._run, "TrainingLog", lambda *_: Interrupted()
    )
    assert main(_train_arguments(photos, tmp_path / "run", 3)) == 143
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "Stopped after step 1, saved in" in error
    assert error.endswith("go on from there with --resume.\n")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="once, where it starts fastest"
)
def test_killed_training_goes_on(photos, tmp_path):
    """SIGKILL in the middle; the resumed run's log is the unbroken one's."""

    def run(output, *options):
        argv = [*_train_arguments(photos, output, 40), *options]
        return subprocess.Popen(
            [sys.executable, "-m", "keras_vqvae2_cli", *argv],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "KERAS_BACKEND": "torch"},
        )

    assert run(tmp_path / "unbroken").wait() == 0
    killed = run(tmp_path / "killed", "--checkpoint-minutes", "0")
    log = tmp_path / "killed" / "history.csv"
    while not log.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    assert run(tmp_path / "killed", "--resume").wait() == 0
    assert (
        log.read_text() == (tmp_path / "unbroken" / "history.csv").read_text()
    )


def test_the_command_line_runs_as_a_program(model_folder, tmp_path):
    command = [sys.executable, "-m", "keras_vqvae2_cli"]
    result = subprocess.run(
        [*command, "reconstruct", "absent.png"], capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr == (
        "keras-vqvae2: error: There is no file or folder absent.png.\n"
    )

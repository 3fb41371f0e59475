import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import safetensors.numpy
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights


def convolution(name):
    return [f"{name}/kernel", f"{name}/bias"]


def stack(name, downsamples=0, upsamples=0):
    names = []
    for i in range(downsamples):
        names += convolution(f"{name}/downsample_{i}")
    names += convolution(f"{name}/conv")
    for i in range(2):
        for conv in ("conv3", "conv1"):
            names += convolution(f"{name}/residual_stack/block_{i}_{conv}")
    for i in range(upsamples):
        names += convolution(f"{name}/upsample_{i}")
    return names


def quantizer(name):
    parts = ("embeddings", "counts", "initialized", "sums")
    return [f"{name}/{part}" for part in parts]


# Published files have these names. They must never change.
GOLDEN_NAMES = {
    *stack("encoder_bottom", downsamples=2),
    *convolution("projection_bottom"),
    *quantizer("quantizer_bottom"),
    *stack("decoder_bottom", upsamples=2),
    *stack("encoder_top", downsamples=1),
    *convolution("projection_top"),
    *quantizer("quantizer_top"),
    *stack("decoder_top", upsamples=1),
    *convolution("upsample_top_0"),
}


@pytest.fixture(scope="module")
def model():
    return make_vqvae()


@pytest.fixture
def arrays(model, tmp_path):
    weights.save_weights(model, tmp_path / "whole.safetensors")
    return safetensors.numpy.load_file(tmp_path / "whole.safetensors")


def values(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


def assert_refused(model, path, message):
    before = values(model)
    with pytest.raises(ValueError, match=message):
        weights.load_weights(model, path)
    for old, new in zip(before, values(model), strict=True):
        np.testing.assert_array_equal(old, new)


def save_and_refuse(model, arrays, tmp_path, message):
    safetensors.numpy.save_file(arrays, tmp_path / "changed.safetensors")
    assert_refused(model, tmp_path / "changed.safetensors", message)


def test_names_are_golden():
    names = weights.weight_names(keras_vqvae2.HierarchicalVQVAE())
    assert set(names) == GOLDEN_NAMES and len(names) == len(GOLDEN_NAMES)


def test_names_do_not_depend_on_creation_order_or_name(model):
    other = make_vqvae(name="another")
    assert weights.weight_names(model) == weights.weight_names(other)


def test_round_trip_is_exact(model, tmp_path):
    weights.save_weights(model, tmp_path / "a.safetensors")
    other = make_vqvae(seed=1)
    weights.load_weights(other, tmp_path / "a.safetensors")
    for old, new in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(old, new)
    weights.save_weights(other, tmp_path / "b.safetensors")
    first = (tmp_path / "a.safetensors").read_bytes()
    assert first == (tmp_path / "b.safetensors").read_bytes()


def test_scalar_weights_stay_scalar(arrays):
    assert arrays["quantizer_top/initialized"].shape == ()


def test_half_precision_compute_loads_the_same_file(model, tmp_path):
    weights.save_weights(model, tmp_path / "a.safetensors")
    mixed = make_vqvae(dtype="mixed_bfloat16")
    weights.load_weights(mixed, tmp_path / "a.safetensors")
    for old, new in zip(values(model), values(mixed), strict=True):
        np.testing.assert_array_equal(old, new)


def test_missing_weight_is_refused(model, arrays, tmp_path):
    del arrays["projection_top/bias"]
    save_and_refuse(
        model, arrays, tmp_path, r"missing \['projection_top/bias'\]"
    )


def test_unknown_weight_is_refused(model, arrays, tmp_path):
    arrays["extra"] = np.zeros(3, "float32")
    save_and_refuse(model, arrays, tmp_path, r"unknown \['extra'\]")


def test_wrong_shape_is_refused(model, arrays, tmp_path):
    arrays["projection_top/bias"] = np.zeros(5, "float32")
    save_and_refuse(model, arrays, tmp_path, r"must be float32 of shape \(4,\)")


@pytest.mark.parametrize("dtype", ["float64", "float16", "int32"])
def test_wrong_dtype_is_refused(model, arrays, tmp_path, dtype):
    arrays["projection_top/bias"] = np.zeros(4, dtype)
    save_and_refuse(model, arrays, tmp_path, f"Received {dtype}")


def test_bfloat16_file_is_refused(model, arrays, tmp_path):
    arrays["projection_top/bias"] = np.zeros(4, "float16")
    path = tmp_path / "changed.safetensors"
    safetensors.numpy.save_file(arrays, path)
    content = path.read_bytes()
    assert content.count(b'"F16"') == 1
    path.write_bytes(content.replace(b'"F16" ', b'"BF16"'))
    if b"BF16" not in path.read_bytes():
        # The header is padded with spaces: take one of them.
        length = int.from_bytes(content[:8], "little")
        header = content[8 : 8 + length].replace(b'"F16"', b'"BF16"')
        header = header.rstrip(b" ")
        header += b" " * (-len(header) % 8)
        path.write_bytes(
            len(header).to_bytes(8, "little") + header + content[8 + length :]
        )
    assert_refused(model, path, "projection_top/bias must be float32")


@pytest.mark.parametrize("kept", [0, 4, 100, 5000, -1])
def test_truncated_file_is_refused(model, arrays, tmp_path, kept):
    path = tmp_path / "whole.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert_refused(model, path, "not a whole safetensors file")


def test_garbage_is_refused(model, tmp_path):
    path = tmp_path / "garbage.safetensors"
    path.write_bytes(random.Random(0).randbytes(10000))
    assert_refused(model, path, "not a whole safetensors file")


def test_pickle_is_refused_unread(model, tmp_path):
    path = tmp_path / "pickle.safetensors"
    path.write_bytes(b"cposix\nsystem\n(S'touch pwned'\ntR.")
    assert_refused(model, path, "not a whole safetensors file")


def test_missing_file(model, tmp_path):
    with pytest.raises(FileNotFoundError):
        weights.load_weights(model, tmp_path / "none.safetensors")


def test_atomic_path_keeps_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        with files.atomic_path(path) as temporary:
            temporary.write_text("half")
            raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.once
def test_names_as_long_as_can_be(tmp_path):
    name = "é" * 127
    with files.atomic_path(tmp_path / name) as temporary:
        temporary.write_text("new")
    assert (tmp_path / name).read_text() == "new"
    name = "f." + "x" * 253
    for text in ("old", "new"):
        with files.atomic_folder(tmp_path / name) as folder:
            (folder / "file").write_text(text)
    assert (files.settled_folder(tmp_path / name) / "file").read_text() == "new"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.once
@pytest.mark.parametrize("path", ["folder", "folder/a", "a", "a/b", "link"])
def test_what_can_be_written(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    files.check_writable(tmp_path / path, folder=True)
    files.check_writable(tmp_path / path / "file")
    assert len(list(tmp_path.rglob("*"))) == 2


@pytest.mark.once
@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("file", True),
        ("file/a", True),
        ("file/a/b", False),
        ("folder", False),
        ("pipe", False),
        ("nowhere", True),
        ("nowhere/a", False),
        ("n" * 256, True),
        (f"{'n' * 256}/a", False),
    ],
)
def test_what_cannot_be_written(tmp_path, path, folder):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "nowhere").symlink_to("absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        files.check_writable(tmp_path / path, folder)


def test_atomic_path_has_the_usual_mode(tmp_path):
    with files.atomic_path(tmp_path / "a" / "file") as temporary:
        temporary.write_text("new")
    (tmp_path / "usual").touch()
    mode = (tmp_path / "a" / "file").stat().st_mode
    assert mode == (tmp_path / "usual").stat().st_mode


def test_atomic_folder_replaces_and_keeps_what_is_not_written(tmp_path):
    folder = tmp_path / "folder"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "log").write_text("log")
    (folder / "link").symlink_to("file")
    (folder / "file").write_text("old")
    with files.atomic_folder(folder) as new:
        (new / "file").write_text("new")
        assert (folder / "file").read_text() == "old"
    assert (folder / "file").read_text() == "new"
    assert (folder / "logs" / "log").read_text() == "log"
    assert (folder / "link").is_symlink()
    assert os.listdir(tmp_path) == ["folder"]


def test_atomic_folder_keeps_the_old_folder_after_an_error(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_text("old")
    with pytest.raises(ZeroDivisionError):
        with files.atomic_folder(folder) as new:
            (new / "file").write_text("half")
            raise ZeroDivisionError
    assert (folder / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["folder"]


@pytest.fixture
def full_disk():
    """No file may be larger than a page, as if the disk were full."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.once
@pytest.mark.parametrize("kind", ["file", "arrays", "folder"])
def test_a_full_disk_is_named_and_the_old_file_is_whole(
    tmp_path, full_disk, kind
):
    path = tmp_path / "model"
    file = path / "a" if kind == "folder" else path
    file.parent.mkdir(exist_ok=True)
    file.write_text("old")
    with pytest.raises(OSError) as error:
        if kind == "file":
            with files.atomic_path(path) as temporary:
                temporary.write_bytes(bytes(5000))
        elif kind == "arrays":
            weights.save_arrays({"x": np.zeros(5000)}, path)
        else:
            with files.atomic_folder(path) as temporary:
                weights.save_arrays({"x": np.zeros(5000)}, temporary / "a")
    assert str(error.value) == (
        f"{path} could not be written: File too large. What was there before "
        "is unchanged."
    )
    assert file.read_text() == "old"
    assert [x.name for x in tmp_path.iterdir()] == ["model"]


def test_atomic_folder_goes_on_after_a_kill_between_its_renames(tmp_path):
    folder = tmp_path / "folder"
    killed = tmp_path / ".folder.abcd_123.tmp"
    (killed / "new").mkdir(parents=True)
    previous = killed / "previous"
    previous.mkdir()
    (previous / "file").write_text("old")
    (previous / "other").write_text("other")
    assert files.settled_folder(folder) == previous
    with files.atomic_folder(folder) as new:
        (new / "file").write_text("new")
    assert files.settled_folder(folder) == folder
    assert (folder / "file").read_text() == "new"
    assert (folder / "other").read_text() == "other"
    assert os.listdir(tmp_path) == ["folder"]


def test_sha256sums(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    files.write_sha256sums(tmp_path, ["a"])
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digest}  a\n"
    assert files.read_sha256sums(tmp_path / "SHA256SUMS") == {"a": digest}


@pytest.mark.parametrize(
    "text", ["x", "0" * 64 + "  ../a", "0" * 63 + "  a", "\0"]
)
def test_sha256sums_garbage_is_refused(tmp_path, text):
    (tmp_path / "SHA256SUMS").write_text(text)
    with pytest.raises(ValueError, match="not a list of SHA-256 sums"):
        files.read_sha256sums(tmp_path / "SHA256SUMS")


# As below without models: quick to start, so that it can be killed often.
QUICK_SAVER = """
import importlib.util
import pathlib
import sys

sys.modules["keras"] = sys  # what is used here does not need it
spec = importlib.util.spec_from_file_location("files", sys.argv[2])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
folder = pathlib.Path(sys.argv[1], "folder")
step = int(sys.argv[3])
while True:
    step += 1
    with files.atomic_folder(folder) as new:
        for name in ("a", "b"):
            with files.atomic_path(new / name) as temporary:
                temporary.write_text(f"{step} " * 1000)
    with files.atomic_path(folder.with_name("file")) as temporary:
        temporary.write_bytes(bytes([step % 256]) * 3_000_000)
    print(step, flush=True)
"""

# Writes 1, 2, ... into every weight and saves, until it is killed.
SAVER = """
import sys
import keras_vqvae2
from keras_vqvae2 import weights

vqvae = keras_vqvae2.HierarchicalVQVAE(
    hidden_dim=8, residual_dim=4, num_embeddings=16, embedding_dim=4
)
model = keras_vqvae2.VQVAE2(vqvae, name="tiny")
step = int(sys.argv[2])
while True:
    step += 1
    for weight in vqvae.weights:
        weight.assign(0 * weight + step)
    weights.save_weights(vqvae, sys.argv[1] + "/file.safetensors")
    model.save_pretrained(sys.argv[1] + "/folder", overwrite=True)
    print(step, flush=True)
"""


@pytest.fixture
def start():
    """Function that starts a Python script; it is killed in the end."""
    processes = []

    def start(script, *args):
        process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=pathlib.Path(__file__).parents[1],
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


needs_sigkill = pytest.mark.skipif(
    not hasattr(signal, "SIGKILL"), reason="needs SIGKILL"
)


def moments(process, count):
    """Waits for random moments of a process that saves, then kills it.

    It stands still while the caller looks: the disk is as after a kill then.
    """
    generator = random.Random(0)
    for _ in range(count):
        time.sleep(generator.uniform(0, 0.03))
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        yield
        process.send_signal(signal.SIGCONT)
    time.sleep(generator.uniform(0, 0.03))
    process.send_signal(signal.SIGKILL)
    process.wait()
    yield


@needs_sigkill
def test_a_kill_leaves_the_old_or_the_new_files(tmp_path, start):
    step = 0
    for _ in range(4):
        process = start(QUICK_SAVER, tmp_path, files.__file__, step)
        step = int(process.stdout.readline())
        for _ in moments(process, 15):
            content = (tmp_path / "file").read_bytes()
            assert len(content) == 3_000_000 and len(set(content)) == 1
            folder = files.settled_folder(tmp_path / "folder")
            a, b = ((folder / name).read_text() for name in ("a", "b"))
            assert a == b, "a mixture of two saves"
            steps = a.split()
            assert len(steps) == 1000 and len(set(steps)) == 1
            assert int(steps[0]) >= step
            step = int(steps[0])


def step_of(vqvae):
    steps = {float(v) for value in values(vqvae) for v in np.unique(value)}
    assert len(steps) == 1, "a mixture of two saves"
    return steps.pop()


@needs_sigkill
def test_a_kill_leaves_the_old_or_the_new_model(model, tmp_path, start):
    step = 0
    for _ in range(2):
        process = start(SAVER, tmp_path, step)
        step = int(process.stdout.readline())
        for _ in moments(process, 8):
            step = check_both(model, tmp_path, step)


def check_both(model, tmp_path, step):
    """Both saves load, and are not older than a save that had ended."""
    weights.load_weights(model, tmp_path / "file.safetensors")
    in_file = step_of(model)
    loaded = keras_vqvae2.from_pretrained(tmp_path / "folder")
    in_folder = step_of(loaded.vqvae)
    assert in_file >= in_folder >= in_file - 1
    assert in_folder >= step
    return int(in_folder)

"""The scripts for ImageNet and FFHQ, on pictures of our own making."""

import importlib
import pathlib
import runpy
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import keras_vqvae2
from keras_vqvae2.data import image_dataset
from keras_vqvae2.hub.presets import Preset
from keras_vqvae2.training_options import TrainingOptions

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
BACKEND = keras.backend.backend()


def picture(seed, side):
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), "uint8")
    return Image.fromarray(coarse).resize((side, side), Image.BICUBIC)


def class_folders(folder):
    for i in range(5):
        path = folder / f"class-{i % 2}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i, 80).save(path)
    return folder


def ffhq_folders(folder):
    """PNG files in folders by thousands, as distributed."""
    for i in (0, 999, 1000, 1001):
        path = folder / f"{i // 1000 * 1000:05}" / f"{i:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i, 1024).save(path)
    return folder


def ffhq_records(folder):
    import tensorflow as tf

    folder.mkdir()
    path = folder / "ffhq-r10.tfrecords"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for i in (0, 999, 1000, 1001):
            pixels = np.moveaxis(np.asarray(picture(i, 1024)), -1, 0)
            example = tf.train.Example()
            feature = example.features.feature
            feature["shape"].int64_list.value.extend(pixels.shape)
            feature["data"].bytes_list.value.append(pixels.tobytes())
            writer.write(example.SerializeToString())
    return path


def run_example(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.mark.not_on_jax
@pytest.mark.parametrize(
    ("name", "make_data"),
    [
        ("train_imagenet256.py", class_folders),
        ("train_ffhq1024.py", ffhq_records),
    ],
)
def test_smoke(name, make_data, tmp_path, monkeypatch, capsys):
    if make_data is ffhq_records and BACKEND != "torch":
        pytest.skip("is run once, from the backend that starts fastest")
    # One of them on two devices, the other in parts.
    strategy, parts = "none", 2
    if make_data is class_folders and BACKEND != "torch":
        strategy, parts = "mirrored", 1
    arguments = ["--data", make_data(tmp_path / "data"), "--smoke"]
    arguments += ["--output", tmp_path / "run", "--strategy", strategy]
    arguments += ["--accumulate", parts, "--dtype", "float32"]
    validated = make_data is class_folders and BACKEND == "torch"
    if validated:
        arguments += ["--validation-data", tmp_path / "data"]
    run_example(name, monkeypatch, *arguments)
    assert f"{1 + (strategy == 'mirrored')} devices" in capsys.readouterr().out
    model = keras_vqvae2.from_pretrained(tmp_path / "run" / "bottom" / "model")
    assert tuple(model.priors) == model.vqvae.level_names
    samples = np.asarray(Image.open(tmp_path / "run" / "samples.png"))
    assert samples.std() > 0
    assert list((tmp_path / "run" / "vqvae" / "tensorboard").iterdir())
    for level in ("vqvae", *model.vqvae.level_names):
        history = (tmp_path / "run" / level / "history.csv").read_text()
        assert len(history.splitlines()) == 3
        assert ("val_loss" in history) == validated

    # Run again, it keeps what is finished.
    files = [p for p in (tmp_path / "run").rglob("*.safetensors")]
    before = {path: path.stat().st_mtime_ns for path in files}
    run_example(name, monkeypatch, *arguments)
    assert before == {path: path.stat().st_mtime_ns for path in files}


def test_ffhq_formats_hold_the_same(tmp_path):
    """PNG files in folders by thousands and TFRecords of the same pictures."""
    if BACKEND != "tensorflow":
        pytest.skip("is run once, from the tensorflow backend")
    data = [ffhq_folders(tmp_path / "png"), ffhq_records(tmp_path / "records")]
    folders, records = (
        np.concatenate(
            [
                batch.numpy()
                for batch in image_dataset(path, 1024, 2, training=False)
            ]
        )
        for path in data
    )
    assert folders.shape == (4, 1024, 1024, 3)
    np.testing.assert_array_equal(folders, records)


@pytest.mark.parametrize(
    ("name", "steps", "batch_sizes"),
    [
        (
            "train_imagenet256.py",
            {"vqvae": 2_207_444, "top": 1_600_000, "bottom": 754_000},
            {"vqvae": 128, "top": 1024, "bottom": 512},
        ),
        (
            "train_ffhq1024.py",
            {
                "vqvae": 304_741,
                "top": 237_000,
                "middle": 57_400,
                "bottom": 270_000,
            },
            {"vqvae": 128, "top": 1024, "middle": 512, "bottom": 256},
        ),
    ],
)
def test_trains_as_in_the_tables(
    name, steps, batch_sizes, tmp_path, monkeypatch
):
    """What the scripts would train with is what tables 3 to 5 say."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    received = {}
    monkeypatch.setattr(
        importlib.import_module("_paper"),
        "train_two_stages",
        lambda *args, **options: received.update(options),
    )
    run_example(
        name,
        monkeypatch,
        *("--data", "tfds:imagenet2012", "--output", tmp_path / "run"),
    )
    options = {"vqvae": received["vqvae_options"], **received["prior_options"]}
    assert {k: v.steps for k, v in options.items()} == steps
    assert {k: v.batch_size for k, v in options.items()} == batch_sizes
    assert {v.optimizer for v in options.values()} == {"adam"}
    assert received["vqvae"]["num_embeddings"] == 512
    assert received["priors"]["top"]["num_attention_layers"] == 4


@pytest.mark.once
@pytest.mark.parametrize("budget", [3.0, 0.03])
def test_a_budget_scales_all_phases(tmp_path, monkeypatch, budget):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    zoo = importlib.import_module("_zoo")
    received, commands = {}, []
    monkeypatch.setattr(
        zoo, "train_two_stages", lambda *args, **kw: received.update(kw)
    )
    monkeypatch.setattr(zoo, "command", lambda argv: commands.append(argv))
    run_example(
        "train_faces64.py",
        monkeypatch,
        *("--data", tmp_path / "faces", "--output", tmp_path / "run"),
        *("--budget", budget),
    )
    options = {"vqvae": received["vqvae_options"], **received["prior_options"]}
    steps = {"vqvae": 12000, "top": 4000, "bottom": 3000}
    assert {k: v.steps for k, v in options.items()} == {
        k: round(v * budget / 3) for k, v in steps.items()
    }
    assert received["validation_data"] == str(tmp_path / "faces" / "val")
    assert received["vqvae"]["strides"] == (4, 2)
    context, evaluate = commands
    assert context[0] == "train-context"
    assert str(tmp_path / "run" / "bottom" / "model") in context
    assert evaluate[0] == "evaluate" and "--write-card" in evaluate
    assert evaluate[evaluate.index("--resize") + 1] == "64"
    assert str(tmp_path / "run" / "vqvae2-faces64") in evaluate


TINY_PRESET = Preset(
    "tiny",
    {"strides": (4, 2), "hidden_dim": 8, "residual_dim": 4}
    | {"num_embeddings": 16, "embedding_dim": 4},
    0,
    "",
    priors={
        level: {"hidden_dim": 8, "residual_dim": 8, "num_blocks": 2}
        | {"num_attention_layers": 1, "num_heads": 2, "num_embeddings": 16}
        | {"num_conditioning_blocks": 1, "num_classes": classes}
        for level, classes in (("top", 2), ("bottom", 2))
    },
)


@pytest.mark.skipif(
    BACKEND != "torch", reason="once, on the backend that starts fastest"
)
@pytest.mark.parametrize("phases", [("vqvae",), ("vqvae", "top", "bottom")])
def test_the_zoos_way_from_pictures_to_the_card(tmp_path, monkeypatch, phases):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    zoo = importlib.import_module("_zoo")
    monkeypatch.setattr(zoo, "find_preset", lambda name: TINY_PRESET)
    for split in ("train", "val"):
        class_folders(tmp_path / "data" / split)
    options = TrainingOptions(
        steps=4, batch_size=2, warmup_steps=1, steps_per_epoch=2, verbose=0
    )
    argv = ["--data", str(tmp_path / "data"), "--output", str(tmp_path / "run")]
    args = zoo.parser("", 1.0).parse_args([*argv, "--dtype", "float32"])
    kwargs = {"labels": True, "num_samples": 0} if len(phases) > 1 else {}
    arguments = {
        "hours": 1.0,
        "context": ["--steps", 2, "--hidden-dims", 8, 8, "--coarse-dim", 8],
        "test_data": tmp_path / "data" / "val",
        "image_size": 32,
        "resize": 48,
        "evaluate": ["--features", "none", "--num-samples", 4],
        **kwargs,
    }
    zoo.run(args, "tiny", dict.fromkeys(phases, options), **arguments)
    card = tmp_path / "run" / "tiny" / "README.md"
    assert "PSNR" in card.read_text()
    model = keras_vqvae2.from_pretrained(tmp_path / "run" / "tiny")
    assert tuple(model.priors) == phases[1:] and model.context is not None
    # Run again, it trains nothing anew.
    weights = tmp_path / "run" / "tiny" / "model.safetensors"
    before = weights.stat().st_mtime_ns
    zoo.run(args, "tiny", dict.fromkeys(phases, options), **arguments)
    assert weights.stat().st_mtime_ns == before

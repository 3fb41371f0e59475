"""What one does every day with a model of one's own."""

import json
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model
from tiny_models import make_priors
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.cli import main
from keras_vqvae2.hub.config import read_config
from keras_vqvae2.recipes import TrainingOptions

NAMES = ("cat", "dog", "frog")


def named_model():
    vqvae = make_vqvae((2, 2), num_residual_blocks=1, seed=0)
    return keras_vqvae2.VQVAE2(
        vqvae, "tiny", make_priors(), labels=list(NAMES), image_size=8
    )


def test_names_of_classes_are_saved_and_resolve(tmp_path, capsys, monkeypatch):
    named_model().save_pretrained(tmp_path / "tiny")
    model = keras_vqvae2.from_pretrained(tmp_path / "tiny")
    assert (model.labels, model.image_size) == (NAMES, 8)
    seen = []
    monkeypatch.setattr(
        keras_vqvae2.generation,
        "generate_codes",
        lambda *args, **kwargs: seen.append(args[3]),
    )
    model.generate_codes(labels=["dog", "cat", 2])
    monkeypatch.setattr(
        keras_vqvae2.sampling.rejection,
        "generate_best",
        lambda *args, **kwargs: seen.append(args[4]),
    )
    model.generate(labels=["dog", "cat", 2], classifier=len, num_candidates=2)
    assert seen == [[1, 0, 2]] * 2
    with pytest.raises(ValueError, match="no class 'cow'.* cat, dog, frog"):
        model.generate(labels=["cow"])
    assert "priors: top, bottom" in repr(model)
    model.summary()
    assert "classes: cat, dog, frog" in capsys.readouterr().out
    assert main(["info", str(tmp_path / "tiny")]) == 0
    out = capsys.readouterr().out
    assert "classes: cat, dog, frog\n" in out
    assert "trained on images of: 8x8\n" in out


@pytest.mark.once
@pytest.mark.parametrize(
    "labels", ["cat", [], ["a", "a"], ["a\n"], [""], ["a", 1], ["n" * 97]]
)
def test_wrong_names_of_classes(tmp_path, labels):
    with pytest.raises(ValueError, match="`labels` must be"):
        keras_vqvae2.VQVAE2(make_vqvae(), labels=labels)
    path = _edited_config(tmp_path, labels=labels)
    with pytest.raises(ValueError, match="`labels` must be"):
        read_config(path)


@pytest.mark.once
def test_as_many_names_as_classes():
    with pytest.raises(ValueError, match="3 classes, but `labels` names 2"):
        keras_vqvae2.hub.config.check_config(
            {
                **json.loads(_config_text()),
                "labels": ["cat", "dog"],
            },
            "here",
        )


def _edited_config(folder, **changes):
    """Path of the config of a model saved in `folder`, with changes."""
    named_model().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, **changes}))
    return path


def _config_text():
    model = make_model()
    return keras_vqvae2.hub.config.ModelConfig(
        "tiny",
        keras_vqvae2.hub.vqvae_config.VQVAEConfig.from_model(
            model.vqvae.get_config()
        ),
        {
            level: keras_vqvae2.hub.prior_config.PriorConfig.from_model(
                prior.get_config()
            )
            for level, prior in model.priors.items()
        },
    ).to_json()


@pytest.mark.once
def test_without_names_a_config_is_what_it_was():
    config = json.loads(_config_text())
    assert not {"labels", "image_size", "revision"} & set(config)


@pytest.mark.once
def test_a_revision_stays_with_the_model(tmp_path, capsys):
    model = named_model()
    assert model.revision == 1
    model.revision = 3
    model.save_pretrained(tmp_path / "tiny")
    loaded = keras_vqvae2.from_pretrained(tmp_path / "tiny")
    loaded.save_pretrained(tmp_path / "again")
    for folder in (tmp_path / "tiny", tmp_path / "again"):
        assert read_config(folder / "config.json").revision == 3
    assert loaded.code_model().revision == 3
    assert main(["info", str(tmp_path / "again")]) == 0
    assert "revision: 3\n" in capsys.readouterr().out


@pytest.mark.once
@pytest.mark.parametrize("revision", [0, -1, 1.0, True, "2", None, 2**40])
def test_wrong_revisions(tmp_path, revision):
    with pytest.raises(ValueError, match="`revision` must be"):
        keras_vqvae2.VQVAE2(make_vqvae(), revision=revision)
    path = _edited_config(tmp_path, revision=revision)
    with pytest.raises(ValueError, match="`revision` must be"):
        read_config(path)


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="once is enough")
def test_names_go_from_folders_to_the_model(tmp_path, capsys):
    for name in NAMES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, suffix in enumerate(("bmp", "tif")):
            Image.new("RGB", (9, 8), (90 * i, 50, 0)).save(
                tmp_path / "photos" / name / f"{i}.{suffix}"
            )
    model = named_model()
    model.labels, model.priors = None, {}
    model.save_pretrained(tmp_path / "tiny")
    argv = ["extract-codes", "--model", str(tmp_path / "tiny"), "--labels"]
    argv += ["--data", str(tmp_path / "photos")]
    assert main([*argv, "--output", str(tmp_path / "codes")]) == 0
    index = json.loads((tmp_path / "codes" / "index.json").read_text())
    assert index["source"]["label_names"] == list(NAMES)
    assert index["source"]["image_size"] == 8
    argv = ["train-prior", "--model", str(tmp_path / "tiny"), "--level", "top"]
    argv += ["--codes", str(tmp_path / "codes"), "--steps", "12"]
    argv += ["--output", str(tmp_path / "run"), "--name", "mine"]
    argv += ["--batch-size", "2", "--hidden-dim", "8", "--residual-dim", "8"]
    argv += ["--num-blocks", "1", "--num-attention-layers", "0"]
    capsys.readouterr()
    assert main(argv) == 0
    # Neither a warm-up that does not fit nor hours without a line.
    assert "10 of 12 steps of the epoch: loss" in capsys.readouterr().err
    config = read_config(tmp_path / "run" / "model" / "config.json")
    assert (config.name, config.labels) == ("mine", NAMES)
    assert config.priors["top"].num_classes == 3


@pytest.mark.once
def test_a_folder_without_a_model_is_an_error_at_once(
    tmp_path, monkeypatch, no_network, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no config.json.$"):
        keras_vqvae2.from_pretrained("runs/mine")
    named_model().save_pretrained("runs/mine/model")
    for name in ("runs/mine", "./runs/mine"):
        with pytest.raises(FileNotFoundError, match="is in runs/mine/model."):
            keras_vqvae2.from_pretrained(name)
    # A folder of a preset's name does not hide the preset.
    (tmp_path / "vqvae2-cifar10").mkdir()
    keras_vqvae2.hub.find_snapshot("vqvae2-cifar10")
    assert main(["push", "runs/mine", "me/mine", "--dry-run"]) == 2
    assert "runs/mine/model" in capsys.readouterr().err
    assert main(["push", "runs/mine/model", "me/mine", "--dry-run"]) == 0
    assert "me/mine: would be published" in capsys.readouterr().out
    assert main(["push", "runs/mine/model"]) == 2
    assert "Name a folder and a repository" in capsys.readouterr().err


@pytest.mark.once
def test_the_warm_up_fits_unless_it_is_given():
    assert TrainingOptions(steps=20).warmup_steps == 10
    assert TrainingOptions(steps=20, decay_steps=20).warmup_steps == 0
    assert TrainingOptions(steps=1).warmup_steps == 0
    assert TrainingOptions().warmup_steps == 100
    with pytest.raises(ValueError, match="must fit into `steps=20`"):
        TrainingOptions(steps=20, warmup_steps=21)


@pytest.mark.once
@pytest.mark.parametrize("suffix", ["bmp", "tif", "tiff"])
def test_bmp_and_tiff(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
    [path] = keras_vqvae2.data.list_images(tmp_path)
    np.testing.assert_array_equal(keras_vqvae2.data.load_image(path), pixels)
    dataset = keras_vqvae2.data.image_folder_dataset(
        tmp_path, 5, 1, training=False
    )
    np.testing.assert_array_equal(next(iter(dataset))[0], pixels[:, 1:6])


def test_export(tmp_path):
    model = named_model()
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
            model.export(tmp_path / "saved")
        return
    tf = pytest.importorskip("tensorflow")
    model.export(tmp_path / "saved")
    with pytest.raises(FileExistsError, match="name another folder"):
        model.export(tmp_path / "saved")
    saved = tf.saved_model.load(tmp_path / "saved")
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), "uint8")
    codes = saved.encode(images)
    for ours, theirs in zip(model.encode(images), codes, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    decoded = saved.decode(*codes).numpy().astype(int)
    # Another program may round 127.49999 and 127.50001 apart.
    assert abs(decoded - model.decode(codes)).max() <= 1


def lite_function(path):
    import tensorflow as tf

    runner = tf.lite.Interpreter(str(path)).get_signature_runner()
    return lambda **inputs: runner(**inputs)


def onnx_function(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [output.name for output in session.get_outputs()]
    return lambda **inputs: dict(
        zip(names, session.run(None, inputs), strict=True)
    )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="is exported by TensorFlow"
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:.*tf.lite")
@pytest.mark.parametrize(
    ("format", "ending", "load"),
    [("litert", "tflite", lite_function), ("onnx", "onnx", onnx_function)],
)
def test_export_to_other_runtimes(tmp_path, format, ending, load):
    """At another size and number than the model was exported with."""
    if format == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    model = named_model()
    with pytest.raises(ValueError, match="must be one of saved_model, onnx"):
        model.export(tmp_path / "model", format="tflite")
    model.export(tmp_path / "model", format=format)
    assert len(list((tmp_path / "model").iterdir())) == 2
    with pytest.raises(FileExistsError, match="name another folder"):
        model.export(tmp_path / "model", format=format)
    encode = load(tmp_path / "model" / f"encode.{ending}")
    decode = load(tmp_path / "model" / f"decode.{ending}")
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 12, 3), "uint8")
    codes = encode(images=images)
    expected = dict(
        zip(model.vqvae.level_names, model.encode(images), strict=True)
    )
    assert set(codes) == set(expected)
    for name, maps in expected.items():
        np.testing.assert_array_equal(codes[name], maps)
    decoded = decode(**codes)["images"]
    assert decoded.dtype == "uint8"
    difference = decoded.astype(int) - model.decode(tuple(expected.values()))
    assert abs(difference).max() <= 1


@pytest.mark.once
def test_export_without_a_converter(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r"pip install .*\[onnx\]"):
        named_model().export(tmp_path / "model", format="onnx")

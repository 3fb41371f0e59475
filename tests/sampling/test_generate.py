import json
import math

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_models import make_model
from tiny_models import make_priors

import keras_vqvae2
from keras_vqvae2 import PixelSNAILPrior
from keras_vqvae2.cli import main
from keras_vqvae2.data import load_image
from keras_vqvae2.hub import config
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.sampling import cached_sampler


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module")
def images(model):
    return model.generate(labels=[0, 1, 2, 1, 0], seed=1, batch_size=2)


def test_images(images):
    assert images.shape == (5, 8, 8, 3) and images.dtype == "uint8"
    assert len(np.unique(images.reshape(5, -1), axis=0)) > 1


def test_an_image_depends_on_seed_number_and_label_only(model, images):
    fewer = model.generate(labels=[0, 1, 2], seed=1, batch_size=3)
    np.testing.assert_array_equal(fewer, images[:3])
    other = model.generate(labels=[0, 1, 2], seed=2, batch_size=3)
    assert (other != fewer).any()


def test_kept_priors(model):
    loads = []

    def loader(prior):
        return lambda: loads.append(prior) or prior

    lazy = keras_vqvae2.VQVAE2(
        model.vqvae,
        priors={level: loader(prior) for level, prior in model.priors.items()},
    )
    lazy.keep_priors(max_bytes=0)
    images = lazy.generate(labels=[0, 1])
    lazy.generate(labels=[0, 1])
    assert len(loads) == 4
    assert lazy.keep_priors() is lazy
    np.testing.assert_array_equal(lazy.generate(labels=[0, 1]), images)
    sampler = lazy.load_sampler("top", temperature=0.5)
    assert lazy.load_sampler("top", temperature=0.5) is sampler
    assert lazy.load_sampler("top", temperature=0.6).temperature == 0.6
    assert len(loads) == 6


def test_small_priors_are_kept_without_being_asked_for(model, monkeypatch):
    loads, compiled = [], []

    def loader(prior):
        return lambda: loads.append(prior) or prior

    def compile_function(*args, **kwargs):
        compiled.append(args)
        return compile_function_of_backend(*args, **kwargs)

    compile_function_of_backend = cached_sampler.compile_function
    monkeypatch.setattr(cached_sampler, "compile_function", compile_function)
    top, bottom = model.priors.values()
    lazy = keras_vqvae2.VQVAE2(
        model.vqvae, priors={"top": loader(top), "bottom": loader(bottom)}
    )
    codes = lazy.generate_codes(labels=[0, 1])
    number = len(compiled)
    again = lazy.generate_codes(labels=[0, 1])
    assert loads == [top, bottom] and len(compiled) == number > 0
    np.testing.assert_array_equal(again[1], codes[1])
    # Together they are above the bound; each by itself is not.
    sizes = [4 * prior.count_params() for prior in (top, bottom)]
    lazy.keep_priors(max_bytes=sum(sizes) - 1)
    assert not lazy.priors.is_kept("top")
    for level in ("top", "bottom") * 2:
        lazy.load_prior(level)
    assert loads[2:] == [top, bottom, bottom]
    assert lazy.priors.is_kept("top") and not lazy.priors.is_kept("bottom")
    # A copy has what is kept.
    copy = lazy.priors | {"bottom": bottom}
    assert copy["top"] is top and len(loads) == 5
    assert copy.keep_bytes == sum(sizes) - 1
    with pytest.raises(ValueError, match="`max_bytes` must be"):
        lazy.keep_priors(max_bytes=-1)


def test_priors_are_loaded_when_asked_for(model):
    loads = []
    top, bottom = model.priors.values()
    lazy = keras_vqvae2.VQVAE2(
        model.vqvae, priors={"top": lambda: loads.append(1) or top}
    )
    assert set(lazy.priors) == {"top"} and "bottom" not in lazy.priors
    both = lazy.priors | {"bottom": bottom}
    copy = keras_vqvae2.VQVAE2(model.vqvae, priors=both)
    copy.keep_priors(max_bytes=0)
    assert tuple(copy.priors) == ("top", "bottom") and not loads
    assert copy.priors["bottom"] is bottom and not loads
    assert copy.priors["top"] is top and len(loads) == 1
    copy.keep_priors()
    assert copy.priors["top"] is top and len(loads) == 2
    assert not lazy.priors.is_kept("top")
    with pytest.raises(KeyError, match="no prior of the level 'bottom'"):
        lazy.priors["bottom"]


def test_kept_priors_see_new_weights():
    model = make_model()
    codes = model.generate_codes(labels=[0, 1])
    prior = model.priors["top"]
    bias = np.zeros(prior.num_embeddings)
    bias[5] = 1e4
    prior.logits.bias.assign(bias)
    other = model.generate_codes(labels=[0, 1])
    assert (codes[0] != 5).any() and (other[0] == 5).all()


def test_given_upper_level(model):
    top = np.array([[[1, 2], [3, 4]]] * 3)
    drawn = model.generate_codes(labels=[0, 1, 2], codes=[top])
    np.testing.assert_array_equal(drawn[0], top)
    assert drawn[1].shape == (3, 4, 4)


def test_without_class(model):
    assert model.generate(2).shape == (2, 8, 8, 3)


def test_guidance():
    model = make_model(class_dropout=0.1)
    labels = [0, 1, 2, 1]
    plain = model.generate(labels=labels)
    guided = model.generate(labels=labels, guidance_scale=3.0)
    assert (plain != guided).any()
    with pytest.raises(ValueError, match="`guidance_scale` needs `labels`"):
        model.generate(2, guidance_scale=3.0)


def test_progress(model, monkeypatch, capsys):
    reports = []

    class Progbar:
        def __init__(self, target, verbose, unit_name):
            assert (verbose, unit_name) == (1, "row")
            reports.append([target])

        def update(self, current):
            reports[-1].append(current)

    monkeypatch.setattr(keras.utils, "Progbar", Progbar)
    rows = []
    model.generate(
        labels=[0, 1, 2],
        batch_size=2,
        verbose=1,
        on_row=lambda *report: rows.append(report),
    )
    # Two rows of three images, then four; the second batch has one image.
    assert reports == [[6, 2, 4, 5, 6], [12, 2, 4, 6, 8, 9, 10, 11, 12]]
    assert rows == [
        (level, done, total)
        for level, (total, *finished) in zip(
            ("top", "bottom"), reports, strict=True
        )
        for done in finished
    ]
    printed = capsys.readouterr().out.splitlines()
    assert "top" in printed[0] and "bottom" in printed[1]


def test_progress_bars_are_printed_if_wanted(model, capsys):
    model.generate(labels=[0, 1, 2])
    assert capsys.readouterr().out == ""
    model.generate(labels=[0, 1, 2], verbose=1)
    printed = capsys.readouterr().out
    assert "6/6" in printed and "12/12" in printed


def test_interruption_keeps_finished_images(model, monkeypatch):
    def interrupt(total, after):
        def update(bar, current):
            if bar.target == total and current / total > after:
                raise KeyboardInterrupt

        monkeypatch.setattr(keras.utils.Progbar, "update", update)

    labels = [0, 1, 2, 1, 0]
    whole = model.generate(labels=labels, batch_size=2)
    interrupt(5 * 4, after=0.7)  # of the bottom level
    kept = model.generate(labels=labels, batch_size=2)
    np.testing.assert_array_equal(kept, whole[:2])

    interrupt(5 * 2, after=0)  # of the top level
    with pytest.raises(KeyboardInterrupt):
        model.generate(labels=labels)


def test_saved_and_loaded(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    names = {path.name for path in (tmp_path / "saved").iterdir()}
    assert names >= {"prior_top.safetensors", "prior_bottom.safetensors"}
    card = (tmp_path / "saved" / "README.md").read_text()
    assert "model.generate(labels=[0, 2])" in card and "prior `bottom`" in card
    loaded = keras_vqvae2.from_pretrained(tmp_path / "saved")
    assert set(loaded.priors) == {"top", "bottom"}
    np.testing.assert_array_equal(
        loaded.generate(labels=[2, 0]), model.generate(labels=[2, 0])
    )
    # In place, from files to the same files.
    loaded.save_pretrained(tmp_path / "saved", overwrite=True)
    again = keras_vqvae2.from_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(
        again.generate(labels=[2, 0]), model.generate(labels=[2, 0])
    )

    prior = tmp_path / "saved" / "prior_bottom.safetensors"
    content = bytearray(prior.read_bytes())
    content[-1] ^= 1
    prior.write_bytes(content)
    damaged = keras_vqvae2.from_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="prior_bottom.* is damaged"):
        damaged.generate(labels=[2, 0])


def test_config_of_priors_is_closed(model, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    path = tmp_path / "saved" / "config.json"
    good = json.loads(path.read_text())

    def check(change, message):
        bad = json.loads(path.read_text())
        change(bad["priors"])
        with pytest.raises(ValueError, match=message):
            config.check_config(bad, "it")

    config.check_config(good, "it")
    check(lambda p: p.update(side=p["top"]), "unknown keys")
    check(lambda p: p["top"].update(layers=3), "unknown keys")
    check(lambda p: p["top"].pop("code_shapes"), "missing keys")
    check(
        lambda p: p["top"].update(code_shapes=[[2, 2], [4, 4]]),
        "`code_shapes` must be",
    )
    check(lambda p: p["top"].update(kernel_size=4), "`kernel_size` must be")
    check(lambda p: p["top"].update(num_blocks=10**9), "`num_blocks` must be")
    check(
        lambda p: p["top"].update(hidden_dim=8192, residual_dim=16384),
        "more than the",
    )


@pytest.mark.parametrize("level", ["top", "bottom"])
@pytest.mark.parametrize("num_classes", [None, 3])
def test_number_of_parameters(level, num_classes):
    prior = make_priors(num_classes=num_classes)[level]
    bound = config.PriorConfig.from_model(prior.get_config()).max_parameters()
    assert prior.count_params() <= bound <= 4 * prior.count_params()


PAPER_PRIORS = [
    ("vqvae2-imagenet256", "top", 959_974_400),
    ("vqvae2-imagenet256", "bottom", 607_575_552),
    ("vqvae2-ffhq1024", "top", 833_581_568),
    ("vqvae2-ffhq1024", "middle", 503_892_992),
    ("vqvae2-ffhq1024", "bottom", 275_971_584),
]


@pytest.mark.parametrize(("preset", "level", "expected"), PAPER_PRIORS)
def test_number_of_parameters_of_tables_3_and_4(preset, level, expected):
    """Built without memory for the weights, which JAX alone can do."""
    arguments = PRESETS[preset].priors[level]
    bound = config.PriorConfig(**arguments).max_parameters()
    assert expected <= bound <= 4 * expected
    if keras.backend.backend() != "jax":
        return
    import jax

    counts = []

    def build():
        prior = PixelSNAILPrior(**arguments)
        counts.append(sum(math.prod(w.shape) for w in prior.trainable_weights))

    jax.eval_shape(build)
    assert counts == [expected]


def test_wrong_use(model):
    for arguments, message in (
        ({}, "must say one number"),
        ({"num_images": 2, "labels": [1]}, "must say one number"),
        ({"labels": [0, 4]}, r"Labels must be in 0\.\.2.*Received: 4"),
        ({"labels": [-1]}, "Labels must be"),
        ({"labels": [0.5]}, "`labels` must be a list of integers"),
        ({"num_images": 0}, "`num_images` must be a positive"),
        ({"num_images": 1, "batch_size": 0}, "`batch_size` must be"),
        ({"num_images": 99999999999}, "`num_images` must be .* at most 1048"),
        ({"num_images": "3"}, "`num_images` must be"),
        ({"num_images": 1, "seed": -1}, "`seed` must be"),
        ({"num_images": 1, "seed": 2**63}, "`seed` must be"),
        ({"labels": [2**64]}, "`labels` must be a list of integers"),
        ({"labels": [[0], [0, 1]]}, "`labels` must be an array, or a list"),
        ({"num_images": 1, "temperature": 0}, "`temperature` must be"),
        (
            {"labels": [0], "codes": [np.zeros((1, 3, 2), int)]},
            "Received: .*3, 2",
        ),
        ({"labels": [0], "codes": [np.full((1, 2, 2), 16)]}, r"0\.\.15"),
        ({"labels": [0], "codes": [np.ones((1, 2, 2))]}, "must be integers"),
        ({"num_images": 1, "codes": [np.zeros((1, 2, 2))] * 3}, "2 levels"),
    ):
        with pytest.raises(ValueError, match=message):
            model.generate(**arguments)
    with pytest.raises(TypeError, match="`codes` must be a tuple of maps"):
        model.generate(1, codes=5)
    unconditional = make_model(num_classes=None)
    with pytest.raises(ValueError, match="no classes"):
        unconditional.generate(labels=[0])
    no_bottom = keras_vqvae2.VQVAE2(
        model.vqvae, priors={"top": model.priors["top"]}
    )
    with pytest.raises(ValueError, match="no prior of the level 'bottom'"):
        no_bottom.generate(1)
    with pytest.raises(ValueError, match="no level 'side'"):
        keras_vqvae2.VQVAE2(model.vqvae, priors={"side": None})


@pytest.mark.not_on_jax
def test_the_whole_way_on_the_command_line(tmp_path, capsys, monkeypatch):
    generator = np.random.default_rng(0)
    for i in range(6):
        folder = tmp_path / "photos" / ("cats", "dogs")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = generator.integers(0, 256, (16, 16, 3), "uint8")
        Image.fromarray(image).save(folder / f"{i}.png")
    keras.utils.set_random_seed(0)
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        (2, 2), 8, 4, 1, num_embeddings=16, embedding_dim=4
    )
    stage1, codes = str(tmp_path / "stage1"), str(tmp_path / "codes")
    keras_vqvae2.VQVAE2(vqvae).save_pretrained(stage1)

    data = ["--data", str(tmp_path / "photos"), "--image-size", "16"]
    extract = ["extract-codes", "--model", stage1, "--output", codes, *data]
    assert main([*extract, "--labels", "--mirrored"]) == 0
    assert "Codes of 12 images" in capsys.readouterr().out
    assert main([*extract, "--labels"]) == 2
    assert "complete set of codes" in capsys.readouterr().err

    model = stage1
    for level in ("top", "bottom"):
        output = tmp_path / level
        arguments = [
            *("train-prior", "--model", model, "--level", level),
            *("--codes", codes, "--validation-codes", codes),
            *("--output", str(output), "--steps", "3", "--batch-size", "4"),
            *("--warmup-steps", "0"),
            *("--steps-per-epoch", "2", "--hidden-dim", "8"),
            *("--residual-dim", "8", "--num-blocks", "2", "--num-heads", "2"),
            *("--num-attention-layers", "1", "--num-conditioning-blocks", "1"),
        ]
        assert main(arguments) == 0
        assert "bits_per_dim" in (output / "history.csv").read_text()
        model = str(output / "model")
    on = ["train-prior", "--model", model, "--level", "top", "--codes", codes]
    on += ["--output", str(tmp_path / "on"), "--initial", "--steps", "1"]
    on += ["--batch-size", "4", "--dtype", "mixed_bfloat16"]
    on += ["--warmup-steps", "0"]
    trained = []

    def train_prior(model, level, prior, *args, **kwargs):
        trained.append(prior)

    monkeypatch.setattr("keras_vqvae2.recipes.train_prior", train_prior)
    assert main(on) == 0
    assert trained[0].compute_dtype == "bfloat16" and trained[0].num_blocks == 2
    assert main([*on, "--num-blocks", "3"]) == 2
    assert "leave out num_blocks" in capsys.readouterr().err

    images = tmp_path / "images"
    arguments = ["generate", "--model", model, "--output", str(images)]
    grid = tmp_path / "grid.png"
    assert main([*arguments, "--labels", "0", "1", "--grid", str(grid)]) == 0
    assert load_image(images / "00001.png").shape == (16, 16, 3)
    assert grid.exists()
    capsys.readouterr()
    arguments.append("--overwrite")
    assert main([*arguments, "--labels", "2", "2"]) == 0, "no class"
    assert main([*arguments, "--labels", "3"]) == 2
    assert "Labels must be in 0..1" in capsys.readouterr().err
    without = ["generate", "--model", "vqvae2-imagenet256", "--num-images", "1"]
    assert main([*without, *arguments[3:]]) == 2
    assert "no prior" in capsys.readouterr().err

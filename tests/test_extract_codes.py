import numpy as np
import pytest
from PIL import Image
from tiny_models import PRIOR_SIZES
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.recipes import extract_codes
from keras_vqvae2.recipes import train_context
from keras_vqvae2.recipes import train_prior


def make_model(seed=0, **changes):
    vqvae = make_vqvae((2, 2), num_residual_blocks=0, seed=seed, **changes)
    return keras_vqvae2.VQVAE2(vqvae, "tiny")


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        path = tmp_path / "photos" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = rng.integers(0, 256, (8 + i, 9, 3), dtype="uint8")
        Image.fromarray(image).save(path)
    return tmp_path / "photos"


def extract(model, photos, folder, **changes):
    options = {"image_size": 8, "batch_size": 2, "shard_size": 2}
    return extract_codes(model, photos, folder, **{**options, **changes})


def test_resumes_the_same_run_alone(photos, tmp_path):
    model, folder = make_model(), tmp_path / "codes"
    assert extract(model, photos, folder) == 3
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("index.json", "codes-00001.safetensors"):
        (folder / name).unlink()
    for changes, what in (
        ({"model": make_model(seed=1)}, "weights"),
        ({"model": make_model(dtype="mixed_bfloat16")}, "dtype"),
        ({"image_size": 12}, "image_size 8 instead of 12"),
        ({"resize": 8}, "resize None instead of 8"),
        ({"labels": True}, "labels False instead of True"),
        ({"mirrored": True}, "mirrored False instead of True"),
        ({"shard_size": 1}, "shard_size 2 instead of 1"),
        ({"photos": photos / "class0"}, "data"),
    ):
        arguments = {"model": model, "photos": photos, **changes}
        with pytest.raises(FileExistsError, match=f"another run: .*{what}"):
            extract(folder=folder, **arguments)
    # From elsewhere, in batches of another size: the same run.
    photos.rename(tmp_path / "moved")
    assert extract(model, tmp_path / "moved", folder, batch_size=1) == 3
    assert whole == {path.name: path.read_bytes() for path in folder.iterdir()}


def test_codes_say_what_they_are_of(photos, tmp_path):
    model = make_model()
    extract(model, photos, tmp_path / "codes", labels=True, mirrored=True)
    _, labels, index = read_code_shards(tmp_path / "codes")
    assert list(labels) == [0, 0, 0, 0, 1, 1]
    source = index["source"]
    assert len(source["weights"]) == len(source["data"]) == 64
    assert (source["mirrored"], source["batch_size"]) == (True, 2)


def test_codes_of_another_model_are_not_trained_on(photos, tmp_path):
    extract(make_model(), photos, tmp_path / "codes")
    other = make_model(seed=1)
    prior = keras_vqvae2.PixelSNAILPrior(
        ((2, 2),),
        num_attention_layers=0,
        **{**PRIOR_SIZES, "num_classes": None},
    )
    with pytest.raises(ValueError, match="made by other weights"):
        train_prior(other, "top", prior, tmp_path / "codes", tmp_path / "new")
    with pytest.raises(ValueError, match="made by other weights"):
        train_context(other, tmp_path / "codes", tmp_path / "new")
    assert not (tmp_path / "new").exists()

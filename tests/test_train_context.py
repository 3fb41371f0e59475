import numpy as np
import pytest
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.codec import read_header
from keras_vqvae2.codec import write_codes
from keras_vqvae2.data import write_code_shards
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.recipes import train_context

CONFIG = ContextConfig(
    num_neighbors=3, embedding_dim=4, coarse_dim=16, hidden_dims=(16, 16)
)


@pytest.fixture
def model():
    return keras_vqvae2.VQVAE2(make_vqvae((2, 2), num_embeddings=8), "tiny")


def _codes(number, seed=0):
    """A top map of pure noise, and a bottom map that follows from it."""
    top = np.random.default_rng(seed).integers(0, 8, (number, 6, 5))
    bottom = top.repeat(2, axis=1).repeat(2, axis=2)
    return top, (bottom + np.indices(bottom.shape)[2] % 2) % 8


def _shards(folder, codes, num_embeddings=8, levels=("top", "bottom")):
    write_code_shards(
        lambda skipped: [(codes, None)],
        folder,
        num_embeddings=num_embeddings,
        level_names=levels,
    )
    return folder


def test_learns_what_is_there_to_learn(model, tmp_path):
    shards = _shards(tmp_path / "codes", _codes(200))
    trained, bits = train_context(
        model,
        shards,
        tmp_path / "new",
        validation_codes=_shards(tmp_path / "other", _codes(50, seed=1)),
        config=CONFIG,
        steps=300,
        batch_size=256,
        learning_rate=1e-2,
    )
    assert 2.95 < bits["top"] < 3.15  # log2(8) = 3
    assert bits["bottom"] < 0.05
    # In files, by the weights as they are stored.
    codes = _codes(1, seed=2)
    model = trained.code_model()
    maps = [level[0].astype("int32") for level in codes]
    sizes = {
        method: len(write_codes(maps, (24, 20), model, method))
        for method in ("raw", "context")
    }
    header = len(write_codes(maps, (24, 20), model, "raw")) - 57
    # 30 codes of 3 bits, and next to nothing.
    assert sizes["raw"] == header + (30 + 120) * 3 / 8 + 0.75
    assert abs(sizes["context"] - header - 30 * 3 / 8) < 4
    data = write_codes(maps, (24, 20), model)
    assert read_header(data).method == "context"
    loaded = keras_vqvae2.from_pretrained(tmp_path / "new")
    assert loaded.code_model().fingerprint("context") == model.fingerprint(
        "context"
    )


def test_goes_on_from_a_context_model(model, tmp_path):
    shards = _shards(tmp_path / "codes", _codes(100))
    options = {"batch_size": 256, "learning_rate": 1e-2}
    first, bits = train_context(
        model, shards, tmp_path / "first", config=CONFIG, steps=200, **options
    )
    assert bits["bottom"] < 0.1
    _, again = train_context(
        model,
        shards,
        tmp_path / "again",
        initial=first.context,
        steps=1,
        batch_size=256,
        learning_rate=1e-9,
    )
    for level, value in bits.items():
        # The file has 16 bits a weight.
        np.testing.assert_allclose(again[level], value, atol=2e-3)
    for changes in ({"config": ContextConfig()}, {"num_embeddings": 9}):
        other = model
        if "num_embeddings" in changes:
            other = keras_vqvae2.VQVAE2(make_vqvae((2, 2), num_embeddings=9))
        with pytest.raises(ValueError, match="`initial` must be .* 8 codes"):
            train_context(
                other,
                shards,
                tmp_path / "none",
                initial=first.context,
                config=changes.get("config"),
            )
    assert not (tmp_path / "none").exists()


def test_the_same_seed_gives_the_same_file(model, tmp_path):
    shards = _shards(tmp_path / "codes", _codes(100))
    files = []
    for name in ("a", "b"):
        _, bits = train_context(
            model,
            shards,
            tmp_path / name,
            config=CONFIG,
            steps=2,
            batch_size=64,
        )
        assert set(bits) == {"top", "bottom"}  # of the images held out
        files.append((tmp_path / name / "context.safetensors").read_bytes())
    assert files[0] == files[1]


def test_bad_input(model, tmp_path):
    (tmp_path / "there").mkdir()
    codes = _codes(4)
    shards = _shards(tmp_path / "codes", codes)
    with pytest.raises(FileExistsError, match="choose another `output`"):
        train_context(model, shards, tmp_path / "there")
    others = _shards(tmp_path / "others", codes, num_embeddings=9)
    with pytest.raises(ValueError, match="codes of 9 embeddings"):
        train_context(model, others, tmp_path / "new")
    one = _shards(tmp_path / "one", codes[:1], levels=("top",))
    with pytest.raises(ValueError, match="the levels top; they are not"):
        train_context(model, one, tmp_path / "new")
    square = codes[0], codes[1][:, :6, :5]
    others = _shards(tmp_path / "square", square)
    with pytest.raises(ValueError, match=r"maps of \(\(6, 5\), \(6, 5\)\)"):
        train_context(model, others, tmp_path / "new")
    for change, message in (
        ({"steps": 0}, "`steps` must be a positive"),
        ({"batch_size": 0}, "`batch_size` must be a positive"),
        ({"learning_rate": float("nan")}, "`learning_rate` must be"),
        ({"learning_rate": -1.0}, "`learning_rate` must be"),
        ({"config": ContextConfig(hidden_dims=(8192, 8192))}, "a model of up"),
    ):
        with pytest.raises(ValueError, match=message):
            train_context(model, shards, tmp_path / "new", **change)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        train_context(model, shards, tmp_path / "file" / "new")
    assert not (tmp_path / "new").exists()

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import keras_vqvae2
from keras_vqvae2.evaluation import write_card
from keras_vqvae2.evaluation.card import card_section

LEVEL = {
    "mse": 0.005,
    "psnr_mean": 29.0,
    "psnr_min": 20.0,
    "psnr_max": 40.0,
    "ssim_mean": 0.875,
}
USAGE = {"codes_used": 0.5, "perplexity": 128.0, "entropy_bits": 7.0}
METRICS = {
    "image_size": 64,
    "features": None,
    "test": {
        "reconstruction": {
            "images": 12,
            "size": [64, 64],
            "bits_per_pixel": 0.703125,
            "bits_per_pixel_entropy": 0.5,
            "bits_per_pixel_files": 0.375,
            "levels=1": {**LEVEL, "mse": 0.02, "psnr_mean": 23.0},
            "levels=2": LEVEL,
            "top": USAGE,
            "bottom": USAGE,
        }
    },
}


@pytest.fixture
def model_folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "README.md").write_text("# Model\n\nTraining data: photos.\n")
    return folder


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(METRICS))
    picture = Image.fromarray(np.zeros((4, 4, 3), "uint8"))
    picture.save(folder / "reconstructions.png")
    (folder / "other.txt").write_text("is not copied")
    return folder


def test_section():
    lines = card_section(METRICS, ["reconstructions.png"]).splitlines()
    assert (
        "| test, all maps | 0.00500 | 29.00 dB | 20.00 | 40.00 | 0.875 |"
        in (lines)
    )
    assert any(line.startswith("| test, top alone | 0.02000") for line in lines)
    assert "| bottom | 50.0% | 128 | 7.00 bits per code |" in lines
    assert (
        "Bits per pixel: 0.703 (raw codes), 0.500 (entropy of the codes' "
        "histograms), 0.375 (whole code files)."
    ) in lines
    assert "(reconstructions.png)" in lines[-1]


def test_photographs_are_left_out_unless_asked_for(model_folder, results):
    write_card(model_folder, results)
    assert not (model_folder / "reconstructions.png").exists()
    assert ".png" not in (model_folder / "README.md").read_text()


def test_is_added_at_the_end_and_then_replaced(model_folder, results):
    write_card(model_folder, results, photographs=True)
    path = model_folder / "README.md"
    first = path.read_text()
    assert first.startswith("# Model\n\nTraining data: photos.\n\n<!-- eval")
    assert {each.name for each in model_folder.iterdir()} == {
        "README.md",
        "config.json",
        "metrics.json",
        "reconstructions.png",
    }
    write_card(model_folder, results, photographs=True)
    assert path.read_text() == first
    changed = {**METRICS, "image_size": 32}
    (results / "metrics.json").write_text(json.dumps(changed))
    path.write_text(f"{first}Limits: none.\n")
    write_card(model_folder, results, photographs=True)
    expected = first.replace("images, 64x64", "images, 32x32")
    assert path.read_text() == f"{expected}Limits: none.\n" != first


@pytest.mark.parametrize(
    "text",
    [
        "<!-- evaluation -->",
        "<!-- end of evaluation -->",
        "<!-- end of evaluation --><!-- evaluation -->",
        "<!-- evaluation -->" * 2 + "<!-- end of evaluation -->",
    ],
)
def test_half_of_the_markers(model_folder, results, text):
    (model_folder / "README.md").write_text(text)
    with pytest.raises(ValueError, match="once each, in this order"):
        write_card(model_folder, results)
    assert (model_folder / "README.md").read_text() == text
    assert not (model_folder / "metrics.json").exists()


def test_wrong_folders(model_folder, results, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no results"):
        write_card(model_folder, tmp_path)
    with pytest.raises(FileNotFoundError, match="not the folder of a saved"):
        write_card(results, results)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="cannot be written to"):
        write_card(model_folder, results)
    assert not (model_folder / "metrics.json").exists()


def test_a_kill_while_writing_leaves_the_old_card(
    model_folder, results, monkeypatch
):
    def kill(*args):
        raise KeyboardInterrupt

    before = (model_folder / "README.md").read_text()
    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(KeyboardInterrupt):
        write_card(model_folder, results)
    assert (model_folder / "README.md").read_text() == before
    assert not list(model_folder.glob(".*"))


@pytest.mark.parametrize("name", sorted(keras_vqvae2.hub.bundled_weights()))
def test_bundled_cards_are_those_of_their_metrics(name):
    folder = keras_vqvae2.hub.bundled_weights()[name]
    metrics = json.loads((folder / "metrics.json").read_text())
    text = (folder / "README.md").read_text()
    _, _, section = text.partition("<!-- evaluation -->\n")
    section, _, _ = section.partition("<!-- end of evaluation -->")
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", section)
    assert section == card_section(metrics, pictures)

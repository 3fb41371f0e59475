"""Images in 0..1, the commonest mistake, and images that only look so."""

import types
import warnings

import keras
import numpy as np
import pytest
from tiny_models import make_vqvae

from keras_vqvae2.models._inputs import check_pixel_values
from keras_vqvae2.models._inputs import check_training_images

MODEL = types.SimpleNamespace(num_channels=3, total_stride=8)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), "uint8")
UNIT = (PIXELS / 255).astype("float32")
FLOAT = PIXELS.astype("float32")
BLACK = np.zeros_like(FLOAT)


@pytest.mark.parametrize(
    ("images", "mend"),
    [
        (UNIT, "255 \\* x"),
        (np.full_like(UNIT, 0.5), "255 \\* x"),
        (2 * UNIT - 1, "127.5"),
        (2.02 * UNIT - 1.01, "127.5"),
        (np.full_like(UNIT, -0.5), "127.5"),
    ],
)
def test_refused(images, mend):
    with pytest.raises(ValueError, match=f"pass `{mend}"):
        check_pixel_values(images)


@pytest.mark.parametrize(
    "images",
    [
        UNIT * 1.001,
        np.ones_like(UNIT),
        np.minimum(FLOAT, 1),
        np.concatenate([FLOAT, UNIT[:1]]),
        np.concatenate([BLACK, UNIT * 1.05]),
    ],
)
def test_warned_of(images):
    with pytest.warns(UserWarning, match="taken for nearly black"):
        check_pixel_values(images)


@pytest.mark.parametrize(
    "images",
    [
        PIXELS,
        FLOAT,
        BLACK,
        np.minimum(PIXELS, 1),
        np.concatenate([FLOAT, np.minimum(FLOAT[:1], 1)]),
        np.concatenate([FLOAT, BLACK]),
        FLOAT + 0.25 * (FLOAT < 255),
    ],
)
def test_taken(images):
    check_pixel_values(images)


def test_warns_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for scale in (1.01, 1.02, 1.03):
            check_pixel_values(UNIT * scale)
    assert len(caught) == 1


class _Batches(keras.utils.PyDataset):
    def __init__(self, images):
        super().__init__()
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index : index + 1], np.zeros(1)


def _dataset(images):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(images).batch(1)


def _loader(images):
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(torch.tensor(images), shuffle=True)


@pytest.mark.parametrize("make", [_Batches, _dataset, _loader])
def test_data_sets_whose_first_images_are_black(make):
    check_training_images(make(np.concatenate([BLACK, FLOAT])), MODEL)
    with pytest.raises(ValueError, match="pass `255"):
        check_training_images(make(np.concatenate([BLACK, UNIT])), MODEL)


def test_a_look_leaves_the_order_of_a_loader():
    torch = pytest.importorskip("torch")
    orders = []
    for look in (False, True):
        torch.manual_seed(0)
        loader = _loader(FLOAT)
        if look:
            check_training_images(loader, MODEL)
        orders.append([batch.numpy() for batch in loader])
    np.testing.assert_array_equal(*orders)


def test_fit_checks_generators_and_validation_data():
    model = make_vqvae((4, 2), num_residual_blocks=0)
    model.compile("sgd")
    with pytest.raises(ValueError, match="pass `255"):
        model.fit((UNIT[i : i + 1] for i in range(4)), verbose=0)
    with pytest.raises(ValueError, match="pass `255"):
        model.fit(PIXELS, validation_data=(UNIT, None), verbose=0)

"""A short training of both stages reaches what it should, on every backend."""

import keras
import numpy as np

import keras_vqvae2
from keras_vqvae2.images import psnr
from keras_vqvae2.training import Muon


def pictures(number, seed):
    """Waves of random direction, length and colour, 16x16."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:16, :16] / 16
    direction = rng.uniform(-6, 6, (number, 2, 1, 1, 1))
    phase = rng.uniform(0, 6, (number, 1, 1, 3))
    color = rng.uniform(20, 100, (number, 1, 1, 3))
    waves = direction[:, 0] * x[..., None] + direction[:, 1] * y[..., None]
    images = 128 + color * np.sin(waves + phase)
    return images.clip(0, 255).round().astype("uint8")


def test_both_stages_learn():
    train, test = pictures(256, 0), pictures(128, 1)
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        (2, 2), 16, 8, 1, num_embeddings=32, embedding_dim=16
    )
    vqvae.compile(Muon(5e-3))
    vqvae.fit(train, batch_size=32, epochs=12, verbose=0)
    scores = vqvae.evaluate(test, batch_size=64, verbose=0, return_dict=True)
    mean = test.mean(axis=(1, 2), keepdims=True)
    flat = psnr(test, np.broadcast_to(mean, test.shape)).mean()
    assert scores["psnr"] > max(18.5, flat + 2)
    assert scores["usage_top"] >= 0.25 and scores["usage_bottom"] >= 0.8

    top, _ = vqvae.encode(keras.ops.convert_to_tensor(train))
    top = keras.ops.convert_to_numpy(top)
    prior = keras_vqvae2.PixelSNAILPrior(
        ((4, 4),), 32, 32, 32, 2, 3, 1, 2, num_output_blocks=0, dropout=0.0
    )
    prior.compile(keras.optimizers.Adam(1e-2))
    history = prior.fit({"codes": (top,)}, batch_size=32, epochs=6, verbose=0)
    frequencies = np.bincount(top.ravel(), minlength=32) / top.size
    # It learns more than how often each code occurs.
    entropy = -np.sum(frequencies * np.log2(np.maximum(frequencies, 1e-9)))
    assert history.history["bits_per_dim"][-1] < entropy - 0.5

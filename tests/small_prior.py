"""A small prior for tests of the model and of sampling."""

import numpy as np

from keras_vqvae2 import PixelSNAILPrior

SMALL = {
    "code_shapes": ((3, 4), (6, 8)),
    "num_embeddings": 11,
    "hidden_dim": 8,
    "residual_dim": 6,
    "num_blocks": 4,
    "num_attention_layers": 2,
    "num_heads": 2,
    "num_output_blocks": 1,
    "num_conditioning_blocks": 1,
    "dropout": 0.25,
    "num_classes": 3,
}


def make(seed=0, **changes):
    """A small prior whose every weight is random and matters."""
    prior = PixelSNAILPrior(**{**SMALL, **changes})
    generator = np.random.default_rng(seed)
    for weight in prior.weights:
        if "seed" not in weight.path:
            weight.assign(generator.normal(size=weight.shape) / 2)
    return prior


def codes(number, size, seed=0):
    return np.random.default_rng(seed).integers(0, 11, (number, *size))

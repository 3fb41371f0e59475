"""Tiny models of both stages, for tests of everything around them."""

import keras
import numpy as np

import keras_vqvae2

VQVAE_SIZES = {
    "hidden_dim": 8,
    "residual_dim": 4,
    "num_embeddings": 16,
    "embedding_dim": 4,
}
PRIOR_SIZES = {
    "num_embeddings": 16,
    "hidden_dim": 8,
    "residual_dim": 8,
    "num_blocks": 2,
    "num_heads": 2,
    "num_output_blocks": 0,
    "num_classes": 3,
}
# Every part of a prior, on maps of two sizes that are not squares.
WHOLE_PRIOR = {
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


def make_vqvae(strides=(4, 2), **changes):
    return keras_vqvae2.HierarchicalVQVAE(strides, **{**VQVAE_SIZES, **changes})


def make_priors(seed=0, **changes):
    """Priors of both levels of `make_model`."""
    keras.utils.set_random_seed(seed)
    sizes = {**PRIOR_SIZES, **changes}
    priors = {
        "top": keras_vqvae2.PixelSNAILPrior(
            code_shapes=((2, 2),), num_attention_layers=1, **sizes
        ),
        "bottom": keras_vqvae2.PixelSNAILPrior(
            code_shapes=((2, 2), (4, 4)),
            num_attention_layers=0,
            num_conditioning_blocks=1,
            **sizes,
        ),
    }
    for prior in priors.values():
        # Fresh logits are nearly uniform; these are not.
        for weight in prior.trainable_weights:
            weight.assign(weight * 3)
    return priors


def make_model(strides=(2, 2), **changes):
    """A `VQVAE2` with priors."""
    vqvae = make_vqvae(strides, num_residual_blocks=1, seed=0)
    return keras_vqvae2.VQVAE2(vqvae, "tiny", make_priors(**changes))


def make_prior(seed=0, **changes):
    """A prior of `WHOLE_PRIOR` whose every weight is random and matters."""
    prior = keras_vqvae2.PixelSNAILPrior(**{**WHOLE_PRIOR, **changes})
    generator = np.random.default_rng(seed)
    for weight in prior.weights:
        if "seed" not in weight.path:
            weight.assign(generator.normal(size=weight.shape) / 2)
    return prior


def random_codes(number, size, seed=0):
    """Codes for `make_prior`."""
    return np.random.default_rng(seed).integers(0, 11, (number, *size))

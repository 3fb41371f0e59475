"""A tiny model with priors, for tests of generation and evaluation."""

import keras

import keras_vqvae2
from keras_vqvae2 import PixelSNAILPrior

SIZES = {
    "num_embeddings": 16,
    "hidden_dim": 8,
    "residual_dim": 8,
    "num_blocks": 2,
    "num_heads": 2,
    "num_output_blocks": 0,
    "num_classes": 3,
}


def make_priors(seed=0, **changes):
    keras.utils.set_random_seed(seed)
    sizes = {**SIZES, **changes}
    priors = {
        "top": PixelSNAILPrior(
            code_shapes=((2, 2),), num_attention_layers=1, **sizes
        ),
        "bottom": PixelSNAILPrior(
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
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        strides, 8, 4, 1, num_embeddings=16, embedding_dim=4, seed=0
    )
    return keras_vqvae2.VQVAE2(vqvae, "tiny", make_priors(**changes))

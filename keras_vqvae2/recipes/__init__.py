"""Whole jobs: training of both stages, extraction of codes."""

from keras_vqvae2.recipes.extract_codes import extract_codes
from keras_vqvae2.recipes.train_context import train_context
from keras_vqvae2.recipes.train_prior import train_prior
from keras_vqvae2.recipes.train_two_stages import train_two_stages
from keras_vqvae2.recipes.train_vqvae import train_vqvae
from keras_vqvae2.training_options import TrainingOptions

__all__ = [
    "TrainingOptions",
    "extract_codes",
    "train_context",
    "train_prior",
    "train_two_stages",
    "train_vqvae",
]

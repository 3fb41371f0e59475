"""Models of both stages."""

from keras_vqvae2.models.hierarchical_vqvae import HierarchicalVQVAE
from keras_vqvae2.models.pixel_snail_prior import PixelSNAILPrior
from keras_vqvae2.models.vqvae2 import VQVAE2

__all__ = ["HierarchicalVQVAE", "PixelSNAILPrior", "VQVAE2"]

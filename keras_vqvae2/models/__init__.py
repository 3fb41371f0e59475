"""Models of both stages."""

from keras_vqvae2.models.hierarchical_vqvae import HierarchicalVQVAE
from keras_vqvae2.models.pixel_snail_prior import PixelSNAILPrior

__all__ = ["HierarchicalVQVAE", "PixelSNAILPrior"]

"""Models of both stages."""

from keras_vqvae2.models.hierarchical_vqvae import HierarchicalVQVAE

__all__ = ["HierarchicalVQVAE"]

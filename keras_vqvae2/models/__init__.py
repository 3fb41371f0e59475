"""Models of both stages, and the network behind small code files."""

from keras_vqvae2.models.codebook_embeddings import embed_codebooks
from keras_vqvae2.models.context_network import ContextNetwork
from keras_vqvae2.models.hierarchical_vqvae import HierarchicalVQVAE
from keras_vqvae2.models.pixel_snail_prior import PixelSNAILPrior

__all__ = [
    "ContextNetwork",
    "HierarchicalVQVAE",
    "PixelSNAILPrior",
    "embed_codebooks",
]

"""VQ-VAE-2 for Keras 3."""

from keras_vqvae2 import evaluation
from keras_vqvae2 import hub
from keras_vqvae2 import layers
from keras_vqvae2 import pictures
from keras_vqvae2 import training
from keras_vqvae2.code_file import load_codes
from keras_vqvae2.code_file import save_codes
from keras_vqvae2.hub import from_pretrained
from keras_vqvae2.models import VQVAE2
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.models import PixelSNAILPrior

__version__ = "0.1.0"

__all__ = [
    "VQVAE2",
    "HierarchicalVQVAE",
    "PixelSNAILPrior",
    "evaluation",
    "from_pretrained",
    "hub",
    "layers",
    "load_codes",
    "pictures",
    "save_codes",
    "training",
]

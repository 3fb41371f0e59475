"""Layers of VQ-VAE-2, written in keras.ops for every backend."""

from keras_vqvae2.layers.causal_self_attention import CausalSelfAttention
from keras_vqvae2.layers.decoder import Decoder
from keras_vqvae2.layers.encoder import Encoder
from keras_vqvae2.layers.gated_masked_conv2d import GatedMaskedConv2D
from keras_vqvae2.layers.residual_stack import ResidualStack
from keras_vqvae2.layers.vector_quantizer import VectorQuantizer
from keras_vqvae2.layers.vector_quantizer_ema import VectorQuantizerEMA

__all__ = [
    "CausalSelfAttention",
    "Decoder",
    "Encoder",
    "GatedMaskedConv2D",
    "ResidualStack",
    "VectorQuantizer",
    "VectorQuantizerEMA",
]

"""Checkpoints of PyTorch implementations, as models of this library."""

from keras_vqvae2.pytorch_import.importer import from_pytorch

__all__ = ["from_pytorch"]

"""The command `keras-vqvae2`: files in, files out."""

from keras_vqvae2.cli.main import main

__all__ = ["main"]

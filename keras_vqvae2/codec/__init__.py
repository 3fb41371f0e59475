"""Files of codes."""

from keras_vqvae2.codec.code_file import load_codes
from keras_vqvae2.codec.code_file import save_codes

__all__ = ["load_codes", "save_codes"]

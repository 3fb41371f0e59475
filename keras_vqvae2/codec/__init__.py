"""Code files: lossless, exact on every machine, and read without Keras."""

from keras_vqvae2.codec.code_file import find_model_name
from keras_vqvae2.codec.code_file import read_codes
from keras_vqvae2.codec.code_file import read_header
from keras_vqvae2.codec.code_file import write_codes
from keras_vqvae2.codec.code_model import CodeModel
from keras_vqvae2.codec.code_pool import CodePool
from keras_vqvae2.codec.context_model import ContextModel
from keras_vqvae2.codec.header import CodeHeader

__all__ = [
    "CodeHeader",
    "CodeModel",
    "CodePool",
    "ContextModel",
    "find_model_name",
    "read_codes",
    "read_header",
    "write_codes",
]

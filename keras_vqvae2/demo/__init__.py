"""The demo page: what `keras-vqvae2 demo` and a Space show in a browser."""

from keras_vqvae2.demo.page import build_page
from keras_vqvae2.demo.server import serve
from keras_vqvae2.demo.server import served

__all__ = ["build_page", "serve", "served"]

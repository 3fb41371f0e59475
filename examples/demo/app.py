"""The demo page as a Hugging Face Space: see README.md beside it.

The same page, at home: `keras-vqvae2 demo`.
"""

from keras_vqvae2 import demo

if __name__ == "__main__":
    # A Space says where to listen.
    demo.serve(host=None, port=None)

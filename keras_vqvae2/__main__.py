"""`python -m keras_vqvae2` is the command `keras-vqvae2`."""

import sys

import keras_vqvae2_cli

if __name__ == "__main__":
    sys.exit(keras_vqvae2_cli.main())

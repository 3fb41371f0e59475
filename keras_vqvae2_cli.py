"""Starts the command `keras-vqvae2`.

This lies outside the package because importing the package imports Keras, and
with it a backend that logs several lines as it starts. A command's output
should be the command's.
"""

import os
import sys


def main():
    """Runs `keras_vqvae2.cli.main`; returns its exit code."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    stderr = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        import keras

        # Several workers must find each other before the backend starts.
        if not any("multiworker" in argument for argument in sys.argv):
            keras.ops.add(1, 1)
        from keras_vqvae2 import cli

        message = None
    except (ImportError, ValueError) as error:
        message = " ".join(str(error).split())
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
    if message is not None:
        print(f"keras-vqvae2: error: {message}", file=sys.stderr)
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())

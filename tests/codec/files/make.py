"""Makes the files of this folder. Run it only for a new version of the format.

Keras's weights depend on the backend only in their last digits, so the model
is committed as well.
"""

import pathlib
import sys

import keras
import numpy as np
import safetensors.numpy

import keras_vqvae2
from keras_vqvae2.codec import write_codes

TESTS = pathlib.Path(__file__).parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "codec")]

from code_models import make_context  # noqa: E402
from tiny_models import make_vqvae  # noqa: E402

FOLDER = pathlib.Path(__file__).parent


def main():
    keras.utils.set_random_seed(0)
    vqvae = make_vqvae(num_residual_blocks=0, hidden_dim=4)
    counts = np.random.default_rng(0).exponential(size=(2, 16)) ** 2 * 30
    for quantizer, values in zip(vqvae.quantizers, counts, strict=True):
        quantizer.counts.assign(values)
    model = keras_vqvae2.VQVAE2(vqvae, "tiny-codec", context=make_context())
    model.save_pretrained(FOLDER / "tiny-codec", card="", overwrite=True)
    rng = np.random.default_rng(1)
    codes = {
        name: np.sort(rng.integers(0, 16, shape), axis=1).astype("int32")
        for name, shape in (("top", (12, 9)), ("bottom", (24, 18)))
    }
    (FOLDER / "codes.safetensors").write_bytes(safetensors.numpy.save(codes))
    code_model = model.code_model()
    for method in ("raw", "histogram", "context"):
        data = write_codes(tuple(codes.values()), (90, 70), code_model, method)
        (FOLDER / f"{method}.codes").write_bytes(data)


if __name__ == "__main__":
    main()

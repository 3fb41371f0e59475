"""Tiny models of the codec, without Keras."""

import zlib

import numpy as np

from keras_vqvae2.codec import CodeModel
from keras_vqvae2.codec import ContextModel
from keras_vqvae2.codec.context_model import array_shapes
from keras_vqvae2.codec.header import code_shapes
from keras_vqvae2.hub.context_config import ContextConfig

SIZES = {
    "num_neighbors": 7,
    "coarse_radius": 1,
    "embedding_dim": 3,
    "coarse_dim": 6,
    "hidden_dims": (8, 5),
}


def make_context(strides=(4, 2), num_embeddings=16, seed=0, **changes):
    """A context model of random weights."""
    config = ContextConfig(**{**SIZES, **changes})
    rng = np.random.default_rng(seed)
    arrays = {
        name: rng.normal(size=shape).astype("float32")
        for name, shape in array_shapes(config, strides, num_embeddings).items()
    }
    return ContextModel(config, strides, num_embeddings, arrays)


def make_weights(strides=(4, 2), num_embeddings=16, seed=0):
    rng = np.random.default_rng(seed)
    names = ("top",) if len(strides) == 1 else ("top", "middle", "bottom")
    names = names if len(strides) != 2 else ("top", "bottom")
    return {
        f"quantizer_{name}/counts": rng.exponential(size=num_embeddings).astype(
            "float32"
        )
        ** 3
        for name in names
    }


def make_code_model(
    strides=(4, 2), num_embeddings=16, seed=0, context=True, name="tiny"
):
    return CodeModel(
        name,
        strides,
        num_embeddings,
        make_weights(strides, num_embeddings, seed),
        make_context(strides, num_embeddings, seed) if context else None,
    )


def random_codes(
    image_size=(50, 37), strides=(4, 2), num_embeddings=16, seed=0
):
    rng = np.random.default_rng(seed)
    return tuple(
        rng.integers(0, num_embeddings, shape).astype("int32")
        for shape in code_shapes(image_size, strides)
    )


def assert_same_codes(first, second):
    for a, b in zip(first, second, strict=True):
        assert a.dtype == np.int32
        np.testing.assert_array_equal(a, b)


def with_fitting_crc(data):
    """A changed file whose checksum fits."""
    crc = zlib.crc32(data[:5] + data[9:])
    return data[:5] + crc.to_bytes(4, "little") + data[9:]

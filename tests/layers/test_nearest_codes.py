import keras
import numpy as np
import pytest
from reference import nearest

from keras_vqvae2.layers import nearest_codes


def assert_nearest(vectors, codebook):
    """The codes are those of distances in float64."""
    codes = nearest_codes.nearest_codes(
        keras.ops.convert_to_tensor(vectors),
        keras.ops.convert_to_tensor(codebook),
    )
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(codes),
        nearest(np.float64(vectors), np.float64(codebook)),
    )


@pytest.mark.parametrize("num_vectors", [1, 7, 8, 9, 16, 29])
def test_in_chunks(monkeypatch, num_vectors):
    monkeypatch.setattr(nearest_codes, "_MAX_DISTANCES", 8 * 5)
    monkeypatch.setattr(nearest_codes, "_MIN_ROWS", 2)
    sizes = []
    argmax_of_scores = nearest_codes._argmax_of_scores

    def recorded(rows, matrix, bias):
        sizes.append(rows.shape[0] * matrix.shape[1])
        return argmax_of_scores(rows, matrix, bias)

    monkeypatch.setattr(nearest_codes, "_argmax_of_scores", recorded)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(num_vectors, 3)).astype("float32")
    codebook = rng.normal(size=(5, 3)).astype("float32")
    codes = nearest_codes.nearest_codes(
        keras.ops.convert_to_tensor(vectors),
        keras.ops.convert_to_tensor(codebook),
    )
    assert keras.backend.standardize_dtype(codes.dtype) == "int32"
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(codes), nearest(vectors, codebook)
    )
    assert sizes and max(sizes) <= 8 * 5


def test_lowest_index_of_a_tie():
    codebook = np.array([[4.0], [1.0], [-1.0], [1.0]], "float32")
    vectors = np.array([[0.0], [1.0], [4.0], [2.5]], "float32")
    codes = nearest_codes.nearest_codes(
        keras.ops.convert_to_tensor(vectors),
        keras.ops.convert_to_tensor(codebook),
    )
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(codes), [1, 1, 0, 0]
    )


def test_far_from_the_origin():
    rng = np.random.default_rng(0)
    vectors = (1000 + rng.normal(size=(200, 8))).astype("float32")
    codebook = (1000 + rng.normal(size=(50, 8))).astype("float32")
    assert_nearest(vectors, codebook)


@pytest.mark.parametrize("place", [0.0, 1000.0])
@pytest.mark.parametrize("scale", [1e4, 1e5, 1e6, 1e12])
@pytest.mark.parametrize("outliers", [1, 12, 40])
def test_codes_far_from_the_others(outliers, scale, place):
    """A few codes that have run away leave the others' digits alone."""
    rng = np.random.default_rng(0)
    vectors = (place + rng.normal(size=(200, 8))).astype("float32")
    codebook = (place + rng.normal(size=(100, 8))).astype("float32")
    codebook[:outliers] += scale * rng.normal(size=(outliers, 8))
    assert_nearest(vectors, codebook)

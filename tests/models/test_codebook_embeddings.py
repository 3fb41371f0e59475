import numpy as np
import pytest
from keras import ops
from tiny_models import make_model
from tiny_models import make_priors
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.models import embed_codebooks


def _array(weight):
    return ops.convert_to_numpy(weight)


def _codebook(vqvae, level):
    vectors = _array(vqvae.quantizers[level].codebook)
    vectors = vectors - vectors.mean(axis=0)
    return vectors / vectors.std()


def test_codebooks_are_centered_and_scaled():
    vqvae = make_vqvae()
    prior = keras_vqvae2.PixelSNAILPrior(
        **{
            **make_priors()["bottom"].get_config(),
            "hidden_dim": vqvae.embedding_dim,
            "num_heads": 1,
        }
    )
    before = {w.path: _array(w) for w in prior.weights}
    embed_codebooks(prior, vqvae)
    layers = (prior.condition_embeddings[0], prior.code_embedding)
    for level, layer in enumerate(layers):
        np.testing.assert_allclose(
            _array(layer.embeddings), _codebook(vqvae, level), atol=1e-5
        )
    replaced = {layer.embeddings.path for layer in layers}
    for weight in prior.weights:
        same = np.array_equal(before[weight.path], _array(weight))
        assert same == (weight.path not in replaced)


def test_other_widths_are_linear_in_the_codebook():
    vqvae = make_vqvae()
    prior = make_priors()["top"]
    assert prior.hidden_dim != vqvae.embedding_dim
    embed_codebooks(prior, vqvae)
    embeddings = _array(prior.code_embedding.embeddings)
    codebook = _codebook(vqvae, 0)
    matrix, *_ = np.linalg.lstsq(codebook, embeddings, rcond=None)
    np.testing.assert_allclose(codebook @ matrix, embeddings, atol=1e-4)
    assert 0.4 < embeddings.std() < 2.5
    again = make_priors()["top"]
    embed_codebooks(again, vqvae)
    np.testing.assert_array_equal(
        embeddings, _array(again.code_embedding.embeddings)
    )


def test_of_other_codes():
    vqvae = make_vqvae(num_embeddings=5)
    with pytest.raises(ValueError, match=r"of 16 codes. .* has 2 of 5"):
        embed_codebooks(make_model().load_prior("top"), vqvae)

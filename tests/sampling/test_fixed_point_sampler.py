import numpy as np
import pytest
from keras import ops
from tiny_models import make_prior
from tiny_models import random_codes

from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.sampling import CachedSampler
from keras_vqvae2.sampling import FixedPointSampler
from keras_vqvae2.sampling import gumbel_noise
from keras_vqvae2.sampling import uniform_draws

TOP = random_codes(3, (3, 4))
LABELS = np.array([2, 0, 1])


@pytest.fixture(scope="module")
def prior():
    return make_prior(class_dropout=0.1)


@pytest.fixture(scope="module")
def sampler(prior):
    """Compiled once for all tests."""
    return FixedPointSampler(prior)


def arguments(images=(0, 1, 2), seed=0):
    images = list(images)
    draws = uniform_draws(seed, images, (6, 8))
    return draws, [TOP[images]], LABELS[images]


@pytest.fixture(scope="module")
def logits_of(prior):
    """The full pass over maps of all three images, in float64."""
    function = compile_function(
        prior,
        lambda codes, labels: prior({"codes": (TOP, codes), "labels": labels}),
    )
    return lambda *args: ops.convert_to_numpy(function(*args)).astype("float64")


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_codes_are_those_of_one_after_the_other(
    prior, logits_of, guidance_scale
):
    """The same noise, code by code, by whole passes and NumPy."""
    draws, coarser, labels = arguments()
    noise = gumbel_noise(draws, prior.num_embeddings)
    expected = np.zeros((3, 6, 8), "int32")
    for row, column in np.ndindex(6, 8):
        logits = logits_of(expected, labels)[:, row, column]
        if guidance_scale != 1.0:
            without = np.full_like(labels, prior.num_classes)
            free = logits_of(expected, without)[:, row, column]
            logits = free + guidance_scale * (logits - free)
        logits = logits / 0.7 + noise[:, row, column]
        expected[:, row, column] = logits.argmax(axis=-1)

    sampler = FixedPointSampler(
        prior,
        temperature=0.7,
        guidance_scale=guidance_scale,
        keep_logits=True,
    )
    rows = []
    codes, log_probability, logits = sampler.sample(
        draws, coarser, labels, on_row=rows.append
    )
    np.testing.assert_array_equal(codes, expected)
    assert codes.dtype == "int32" and rows == [1, 2, 3, 4, 5, 6]
    assert 2 <= sampler.num_passes <= 6 * 8 + 1
    full = logits_of(codes, labels)
    np.testing.assert_allclose(logits, full, atol=2e-5 * np.abs(full).max())
    full = full - full.max(axis=-1, keepdims=True)
    full = full - np.log(np.exp(full).sum(axis=-1, keepdims=True))
    nll = np.take_along_axis(full, codes[..., None], -1).sum((1, 2, 3))
    np.testing.assert_allclose(log_probability, nll, rtol=1e-4)


def test_given_codes_stay(prior, sampler):
    forced = np.full((3, 6, 8), -1)
    forced[:, ::2] = random_codes(3, (6, 8), seed=9)[:, ::2]
    draws, coarser, labels = arguments()
    codes, _, logits = sampler.sample(draws, coarser, labels, forced)
    np.testing.assert_array_equal(codes[:, ::2], forced[:, ::2])
    assert logits is None
    # With all given, nothing is left to draw, and a pass is enough.
    cached = CachedSampler(prior)
    _, expected, _ = cached.sample(draws, coarser, labels, codes)
    _, received, _ = sampler.sample(draws, coarser, labels, codes)
    np.testing.assert_allclose(received, expected, rtol=1e-4)
    assert sampler.num_passes == 1


def test_an_image_does_not_depend_on_the_others(sampler):
    together, _, _ = sampler.sample(*arguments())
    alone, _, _ = sampler.sample(*arguments([1]))
    np.testing.assert_array_equal(alone[0], together[1])
    other, _, _ = sampler.sample(*arguments(seed=1))
    assert (other != together).mean() > 0.5


def test_noise_draws_codes_with_their_probabilities():
    probabilities = np.array([0.5, 0.3, 0.15, 0.05])
    noise = gumbel_noise(uniform_draws(0, range(4), (64, 64)), 4)
    assert noise.shape == (4, 64, 64, 4) and noise.dtype == "float32"
    drawn = (np.log(probabilities) + noise).argmax(axis=-1).ravel()
    shares = np.bincount(drawn, minlength=4) / drawn.size
    # Five standard deviations of a share of 16384 draws.
    np.testing.assert_allclose(shares, probabilities, atol=0.02)
    assert not np.array_equal(noise[0], noise[1])


def test_both_samplers_draw_from_the_same_distribution():
    """Of the first code, whose distribution does not depend on others."""
    prior = make_prior(code_shapes=((1, 1), (2, 2)))
    zeros, top = np.zeros((400, 2, 2), "int32"), np.full((400, 1, 1), 3)
    labels = np.full((400,), 2)
    logits = prior({"codes": (top[:1], zeros[:1]), "labels": labels[:1]})
    logits = ops.convert_to_numpy(logits)[0, 0, 0].astype("float64")
    expected = np.exp(logits - logits.max())
    expected = expected / expected.sum()
    draws = uniform_draws(0, range(400), (2, 2))
    for kind in (CachedSampler, FixedPointSampler):
        codes, _, _ = kind(prior).sample(draws, [top], labels)
        shares = np.bincount(codes[:, 0, 0], minlength=len(expected)) / 400
        assert np.abs(shares - expected).max() < 0.125  # five deviations


def test_candidates_are_refused(sampler):
    with pytest.raises(ValueError, match="CachedSampler"):
        sampler.sample(*arguments(), choose=lambda *_: None)


def test_options_are_checked_as_those_of_the_cached_sampler(prior):
    with pytest.raises(ValueError, match="temperature"):
        FixedPointSampler(prior, temperature=0)

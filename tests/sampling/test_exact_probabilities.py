"""All 81 maps of 2x2 positions and 3 codes: probabilities and frequencies."""

import itertools

import numpy as np
import pytest
from keras import ops
from scipy import stats
from tiny_models import make_prior

from keras_vqvae2.sampling.cached_sampler import CachedSampler
from keras_vqvae2.sampling.draws import uniform_draws

MAPS = np.array(list(itertools.product(range(3), repeat=4))).reshape(81, 2, 2)


@pytest.fixture(scope="module")
def prior():
    return make_prior(
        code_shapes=((2, 2),),
        num_embeddings=3,
        num_blocks=2,
        num_attention_layers=1,
        num_conditioning_blocks=0,
        class_dropout=0.1,
        dropout=0.0,
    )


def conditional_logits(prior, label):
    """Logits `(81, 2, 2, 3)` by the full pass, float64."""
    inputs = {"codes": (MAPS,), "labels": np.full(81, label)}
    return np.float64(ops.convert_to_numpy(prior(inputs)))


def map_probabilities(logits, temperature=1.0, top_k=None, top_p=None):
    """Probability of each map, and of each code on the way."""
    p = np.exp(logits / temperature)
    p /= p.sum(axis=-1, keepdims=True)
    for place in np.ndindex(p.shape[:-1]):
        order = np.argsort(-p[place])
        left_out = list(order[top_k:]) if top_k else []
        p[place][left_out] = 0
        p[place] /= p[place].sum()
        if top_p:
            reached = np.cumsum(p[place][order]) - p[place][order]
            p[place][order[reached >= top_p]] = 0
        p[place] /= p[place].sum()
    return np.take_along_axis(p, MAPS[..., None], -1).prod(axis=(1, 2, 3))


def p_value(counts, probabilities):
    """That frequencies differ so much by chance, by the chi-square test."""
    expected = probabilities * counts.sum()
    # It is for five and more of each: the rare ones together.
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    used = expected > 0
    return stats.chisquare(counts[used], expected[used]).pvalue


@pytest.mark.parametrize("label", [0, 2, 3])
def test_probabilities_of_all_maps_add_up_to_one(prior, label):
    probabilities = map_probabilities(conditional_logits(prior, label))
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)
    assert probabilities.max() > 3 / 81


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "top_k": 2},
        {"top_p": 0.8},
        {"guidance_scale": 1.5, "temperature": 0.8, "top_k": 2, "top_p": 0.9},
    ],
)
def test_samples_have_the_frequencies_of_the_full_pass(prior, options):
    number, label = 6000, 1
    options = dict(options)
    sampler = CachedSampler(prior, **options)
    codes, log_probabilities, _ = sampler.sample(
        uniform_draws(3, range(number), (2, 2)), labels=np.full(number, label)
    )
    logits = conditional_logits(prior, label)
    scale = options.pop("guidance_scale", 1.0)
    without = conditional_logits(prior, 3)
    expected = map_probabilities(
        without + scale * (logits - without), **options
    )
    drawn = codes.reshape(number, 4) @ 3 ** np.arange(4)[::-1]
    counts = np.bincount(drawn, minlength=81)
    assert counts[expected == 0].sum() == 0
    assert p_value(counts, expected) > 0.01
    if not options:  # The test would notice.
        for label, temperature in ((0, 1.0), (1, 1.2)):
            other = conditional_logits(prior, label)
            other = map_probabilities(other, temperature)
            assert p_value(counts, other) < 1e-6
    # The probabilities that it gives are those of the prior itself.
    np.testing.assert_allclose(
        np.exp(log_probabilities),
        map_probabilities(logits)[drawn],
        rtol=1e-4,
    )

"""Codes between given ones, by enumeration of all 81 maps."""

import numpy as np
import pytest
from test_exact_probabilities import MAPS
from test_exact_probabilities import conditional_logits
from test_exact_probabilities import map_probabilities
from test_exact_probabilities import p_value
from test_exact_probabilities import prior as prior_fixture

from keras_vqvae2.sampling import CachedSampler
from keras_vqvae2.sampling import Candidates
from keras_vqvae2.sampling import generate_codes

LABEL = 1
prior = prior_fixture


def _drawn(prior, forced, number, num_candidates, **options):
    """How often each map is drawn."""
    (codes,) = generate_codes(
        ["top"],
        lambda level: CachedSampler(prior, **options),
        labels=np.full(number, LABEL),
        forced=[np.tile(forced, (number, 1, 1))],
        num_candidates=num_candidates,
        batch_size=number * num_candidates,
    )
    kept = forced >= 0
    assert (codes[:, kept] == forced[kept]).all()
    return np.bincount(
        codes.reshape(number, 4) @ 3 ** np.arange(4)[::-1], minlength=81
    )


def _parts(prior, forced, **options):
    """Whether each map fits, and its drawn and its given codes' part."""
    logits = conditional_logits(prior, LABEL)
    p = np.exp(logits - logits.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    p = np.take_along_axis(p, MAPS[..., None], -1)[..., 0]
    kept = forced >= 0
    fits = (MAPS[:, kept] == forced[kept]).all(axis=1)
    given = np.where(kept, p, 1).prod(axis=(1, 2))
    if options:
        # Of one drawn code, or of several, by the ratio to the given ones.
        q = np.exp(logits / options["temperature"])
        q /= q.sum(axis=-1, keepdims=True)
        p = np.take_along_axis(q, MAPS[..., None], -1)[..., 0]
    return fits, np.where(kept, 1, p).prod(axis=(1, 2)) * fits, given


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}])
def test_one_candidate_follows_the_codes_before_it(prior, options):
    forced = np.array([[-1, 2], [-1, 0]])
    fits, drawn, given = _parts(prior, forced, **options)
    counts = _drawn(prior, forced, 4000, 1, **options)
    assert counts[~fits].sum() == 0
    assert p_value(counts, drawn / drawn.sum()) > 0.01
    # And not the codes after it: the test would notice.
    posterior = drawn * given
    assert p_value(counts, posterior / posterior.sum()) < 1e-6


def _choice(q, w, num_candidates):
    """Probabilities of one among independent candidates, by its weight."""
    expected = np.zeros(len(q))
    for combination in np.ndindex((len(q),) * num_candidates):
        mine = list(combination)
        share = q[mine].prod() * w[mine] / w[mine].sum()
        np.add.at(expected, mine, share)
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    return expected


def test_two_candidates_by_enumeration(prior):
    # All weights come after the last drawn code.
    forced = np.array([[-1, -1], [1, 2]])
    _, drawn, given = _parts(prior, forced)
    places = np.flatnonzero(drawn)
    expected = np.zeros(81)
    expected[places] = _choice(drawn[places], given[places], 2)
    counts = _drawn(prior, forced, 3000, 2)
    assert p_value(counts, expected) > 0.01
    assert p_value(counts, drawn) < 1e-6


@pytest.mark.parametrize("guidance_scale", [1.0, 1.5])
def test_many_candidates_follow_all_given_codes(prior, guidance_scale):
    logits = conditional_logits(prior, LABEL)
    free = conditional_logits(prior, 3)
    q = np.exp(free + guidance_scale * (logits - free))
    q /= q.sum(axis=-1, keepdims=True)
    q = np.take_along_axis(q, MAPS[..., None], -1)[..., 0]
    distance, forced, posterior = 0, None, None
    for right, below in np.ndindex(3, 3):
        codes = np.array([[-1, right], [-1, below]])
        fits, _, given = _parts(prior, codes)
        before = q[:, 0, 0] * q[:, 1, 0] * fits
        after = before * given / (before * given).sum()
        # What one candidate would give, from what many should.
        apart = abs(before / before.sum() - after).sum() / 2
        if apart > distance:
            distance, forced, posterior = apart, codes, after
    assert distance > 0.15
    if guidance_scale == 1:
        whole = map_probabilities(logits)
        whole = whole * (MAPS[:, :, 1] == forced[:, 1]).all(axis=1)
        np.testing.assert_allclose(posterior, whole / whole.sum(), atol=1e-6)
    number = 1000
    counts = _drawn(prior, forced, number, 16, guidance_scale=guidance_scale)
    assert abs(counts / number - posterior).sum() / 2 < 0.06


@pytest.mark.once
@pytest.mark.parametrize("num_candidates", [2, 3, 4])
def test_choices_by_enumeration(num_candidates):
    q = np.array([0.5, 0.3, 0.15, 0.05])
    w = np.array([0.01, 0.2, 0.3, 0.9])
    number = 5000
    drawn = np.random.default_rng(0).choice(4, number * num_candidates, p=q)
    candidates = Candidates(0, range(number), num_candidates, height=1)
    chosen = candidates(0, np.log(w)[drawn])
    if chosen is not None:  # None for two: one is half of them
        drawn = drawn[chosen]
    kept = drawn[candidates.final()]
    expected = _choice(q, w, num_candidates)
    assert p_value(np.bincount(kept, minlength=4), expected) > 0.01


@pytest.mark.once
def test_unlikely_candidates_end():
    candidates = Candidates(0, [4, 5], 4, height=2)
    even = np.log(np.full(8, 0.5))
    assert candidates(0, even) is None  # nobody is ahead
    weights = np.log([0.2, 0.2, 0.3, 0.3, 1e-9, 1e-9, 1.0, 1e-9])
    assert candidates(1, weights).tolist() == [0, 1, 2, 3, 6, 6, 6, 6]
    assert candidates.final()[0] in range(4)

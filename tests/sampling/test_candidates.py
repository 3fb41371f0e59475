"""Codes between given ones, by enumeration of all 81 maps."""

import numpy as np
import pytest
from test_exact_probabilities import MAPS
from test_exact_probabilities import conditional_logits
from test_exact_probabilities import map_probabilities
from test_exact_probabilities import p_value
from test_exact_probabilities import prior  # noqa: F401

from keras_vqvae2.sampling import CachedSampler
from keras_vqvae2.sampling import Candidates
from keras_vqvae2.sampling import generate_codes

LABEL = 1


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
def test_one_candidate_follows_the_codes_before_it(prior, options):  # noqa: F811
    forced = np.array([[-1, 2], [-1, 0]])
    fits, drawn, given = _parts(prior, forced, **options)
    counts = _drawn(prior, forced, 4000, 1, **options)
    assert counts[~fits].sum() == 0
    assert p_value(counts, drawn / drawn.sum()) > 0.01
    # And not the codes after it: the test would notice.
    posterior = drawn * given
    assert p_value(counts, posterior / posterior.sum()) < 1e-6


@pytest.mark.parametrize("num_candidates", [2, 3])
def test_few_candidates_by_enumeration(prior, num_candidates):  # noqa: F811
    # All weights come after the last drawn code: the choice is one among
    # independent candidates, whose probabilities can be written down.
    forced = np.array([[-1, -1], [1, 2]])
    _, drawn, given = _parts(prior, forced)
    places = np.flatnonzero(drawn)
    q, w = drawn[places], given[places]
    expected = np.zeros(81)
    for combination in np.ndindex((len(places),) * num_candidates):
        mine = list(combination)
        share = q[mine].prod() * w[mine] / w[mine].sum()
        np.add.at(expected, places[mine], share)
    assert expected.sum() == pytest.approx(1, abs=1e-6)
    counts = _drawn(prior, forced, 4000, num_candidates)
    assert p_value(counts, expected) > 0.01
    assert p_value(counts, drawn) < 1e-6


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"guidance_scale": 1.5}]
)
def test_many_candidates_follow_all_given_codes(prior, options):  # noqa: F811
    forced = np.array([[-1, 2], [-1, 0]])
    if "guidance_scale" in options:
        # Both copies of a guided image go on together: as if by themselves.
        logits = conditional_logits(prior, LABEL)
        free = conditional_logits(prior, 3)
        guided = free + options["guidance_scale"] * (logits - free)
        q = np.exp(guided)
        q /= q.sum(axis=-1, keepdims=True)
        q = np.take_along_axis(q, MAPS[..., None], -1)[..., 0]
        fits, _, given = _parts(prior, forced)
        posterior = q[:, 0, 0] * q[:, 1, 0] * given * fits
    else:
        _, drawn, given = _parts(prior, forced, **options)
        posterior = drawn * given
    posterior /= posterior.sum()
    counts = _drawn(prior, forced, 1500, 64, **options)
    assert p_value(counts, posterior) > 0.01
    if not options:
        np.testing.assert_allclose(
            posterior, _conditional(prior, forced), atol=1e-6
        )


def _conditional(prior, forced):
    fits, _, _ = _parts(prior, forced)
    p = map_probabilities(conditional_logits(prior, LABEL)) * fits
    return p / p.sum()


@pytest.mark.once
def test_unlikely_candidates_end():
    candidates = Candidates(0, [4, 5], 4, height=2)
    even = np.log(np.full(8, 0.5))
    assert candidates(0, even) is None  # nobody is ahead
    weights = np.log([0.2, 0.2, 0.3, 0.3, 1e-9, 1e-9, 1.0, 1e-9])
    assert candidates(1, weights).tolist() == [0, 1, 2, 3, 6, 6, 6, 6]
    assert candidates.final()[0] in range(4)

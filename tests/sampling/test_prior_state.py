"""The cached step, driven code by code as a decoder or an editor would."""

import keras
import numpy as np
import pytest
from keras import ops
from tiny_models import make_prior
from tiny_models import random_codes

from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.sampling import CachedSampler
from keras_vqvae2.sampling import prior_state
from keras_vqvae2.sampling import uniform_draws

TOP = random_codes(2, (3, 4))
LABELS = np.array([2, 0])


def drive(prior, choose, coarser=(TOP,), labels=LABELS):
    """All codes, each chosen by its logits, row and column; and the logits."""
    height, width = prior.code_shapes[-1]
    own = np.zeros((2, height, width), "int32")
    kept = []
    state = prior_state.start(prior, 2, coarser, labels)
    for row in range(height):
        state, row_state = prior_state.start_row(prior, state, row)
        for column in range(width):
            logits, row_state = prior_state.step(
                prior, state, row_state, column
            )
            kept.append(ops.convert_to_numpy(ops.copy(logits)))
            own[:, row, column] = choose(kept[-1], row, column)
            row_state = prior_state.put(
                prior,
                state,
                row_state,
                column,
                ops.convert_to_tensor(own[:, row, column]),
            )
        state = prior_state.end_row(prior, state, row_state)
    return own, np.stack(kept, axis=1).reshape(2, height, width, -1)


def full_logits(prior, own, coarser=(TOP,), labels=LABELS):
    inputs = {"codes": (*coarser, own)}
    if labels is not None:
        inputs["labels"] = labels
    return ops.convert_to_numpy(prior(inputs))


@pytest.mark.parametrize(
    "changes", [{}, {"num_attention_layers": 0}, {"kernel_size": 3}]
)
def test_logits_equal_the_full_pass(changes):
    prior = make_prior(**changes)
    forced = random_codes(2, (6, 8), seed=9).astype("int32")
    own, logits = drive(prior, lambda _, row, column: forced[:, row, column])
    np.testing.assert_array_equal(own, forced)
    expected = full_logits(prior, forced)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=2e-5 * scale)


def test_logits_equal_the_full_pass_in_float64():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("some operations of the other backends are in float32")
    prior = make_prior(dtype="float64")
    forced = random_codes(2, (6, 8), seed=9).astype("int32")
    _, logits = drive(prior, lambda _, row, column: forced[:, row, column])
    expected = full_logits(prior, forced)
    assert logits.dtype == expected.dtype == "float64"
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)


def test_without_class_and_coarser_maps():
    prior = make_prior(
        code_shapes=((6, 8),), num_classes=None, num_conditioning_blocks=0
    )
    forced = random_codes(2, (6, 8), seed=9).astype("int32")
    _, logits = drive(
        prior, lambda _, row, column: forced[:, row, column], (), None
    )
    expected = full_logits(prior, forced, (), None)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=2e-5 * scale)


def test_forced_codes_and_drawn_ones_equal_the_sampler():
    """As in inpainting: the codes of a region are drawn, the others given."""
    prior = make_prior()
    given = random_codes(2, (6, 8), seed=9).astype("int32")
    given[:, 2:4, 3:6] = -1
    draws = uniform_draws(5, range(2), (6, 8))

    def choose(logits, row, column):
        p = np.exp(logits.astype("float64") - logits.max(axis=-1)[:, None])
        cumulative = p.cumsum(axis=-1)
        threshold = draws[:, row, column, None] * cumulative[:, -1:]
        drawn = (cumulative <= threshold).sum(axis=-1)
        here = given[:, row, column]
        return np.where(here < 0, drawn, here)

    own, _ = drive(prior, choose)
    sampled, _, _ = CachedSampler(prior).sample(draws, (TOP,), LABELS, given)
    np.testing.assert_array_equal(own, sampled)
    np.testing.assert_array_equal(own[given >= 0], given[given >= 0])


def test_an_earlier_state_can_be_taken_up_again():
    prior = make_prior()
    state = prior_state.start(prior, 2, (TOP,), LABELS)
    state, row_state = prior_state.start_row(prior, state, 0)
    for column, code in ((0, 3), (1, 5)):
        _, row_state = prior_state.step(prior, state, row_state, column)
        code = ops.full((2,), code, "int32")
        row_state = prior_state.put(prior, state, row_state, column, code)
    before = row_state
    logits = []
    for code in (1, 7, 1):
        _, row_state = prior_state.step(prior, state, before, 2)
        code = ops.full((2,), code, "int32")
        row_state = prior_state.put(prior, state, row_state, 2, code)
        x, _ = prior_state.step(prior, state, row_state, 3)
        logits.append(ops.convert_to_numpy(x))
    np.testing.assert_array_equal(logits[0], logits[2])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_states_go_through_compiled_functions():
    prior = make_prior()

    def two_logits(coarser, labels, code):
        state = prior_state.start(prior, 2, [coarser], labels)
        state, row_state = prior_state.start_row(prior, state, 0)
        first, row_state = prior_state.step(prior, state, row_state, 0)
        row_state = prior_state.put(prior, state, row_state, 0, code)
        second, row_state = prior_state.step(prior, state, row_state, 1)
        return first, second, row_state

    code = np.array([4, 9], "int32")
    first, second, row_state = compile_function(prior, two_logits)(
        TOP.astype("int32"), LABELS.astype("int32"), code
    )
    own = np.zeros((2, 6, 8), "int32")
    own[:, 0, 0] = code
    expected = full_logits(prior, own)[:, 0]
    for i, logits in enumerate((first, second)):
        np.testing.assert_allclose(
            ops.convert_to_numpy(logits),
            expected[:, i],
            atol=2e-5 * np.abs(expected).max(),
        )
    assert isinstance(row_state, prior_state.RowState)

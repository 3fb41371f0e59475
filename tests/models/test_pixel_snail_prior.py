import json
from unittest import mock

import keras
import numpy as np
import pytest
from gradients import gradient
from keras import ops
from tiny_models import WHOLE_PRIOR
from tiny_models import make_prior
from tiny_models import random_codes

from keras_vqvae2 import PixelSNAILPrior


def inputs(number=2, seed=0):
    return {
        "codes": (
            random_codes(number, (3, 4), seed),
            random_codes(number, (6, 8), seed + 1),
        ),
        "labels": np.arange(number) % 3,
    }


def logits(prior, x, **kwargs):
    return ops.convert_to_numpy(prior(x, **kwargs))


def test_no_position_sees_its_code_or_a_later_one():
    x = inputs(1)
    prior = make_prior()

    # One image at a time: on some processors the last bits depend on the
    # place in the batch.
    def run(own):
        changed = {**x, "codes": (x["codes"][0], own)}
        return logits(prior, changed).reshape(48, 11)

    own = x["codes"][1]
    before = run(own)
    moved = []
    for i in range(48):
        changed = own.copy()
        changed.reshape(-1)[i] = (changed.reshape(-1)[i] + 5) % 11
        moved.append(np.abs(run(changed) - before).max(axis=-1) > 0)
    moved = np.stack(moved)
    assert not np.tril(moved).any()
    assert moved[:-1].any(axis=-1).all()


def test_no_position_sees_a_later_code_in_training():
    """With the same dropout."""
    x = inputs(1)

    def run(own):
        keras.utils.set_random_seed(3)
        prior = make_prior()
        return logits(
            prior, {**x, "codes": (x["codes"][0], own)}, training=True
        ).reshape(48, 11)

    own = x["codes"][1]
    before = run(own)
    for i in range(0, 48, 7):
        changed = own.copy()
        changed.reshape(-1)[i] = (changed.reshape(-1)[i] + 5) % 11
        moved = np.abs(run(changed) - before).max(axis=-1) > 0
        assert not moved[: i + 1].any()


def test_every_earlier_code_has_a_gradient():
    prior = make_prior(num_attention_layers=0, num_blocks=7, dropout=0.0)
    x = inputs(1)
    table = ops.convert_to_numpy(prior.code_embedding.embeddings)
    embedded = table[x["codes"][1]]
    for position in (0, 1, 8, 21, 47):

        def output(e, position=position):
            with mock.patch.object(
                prior.code_embedding, "call", lambda codes: e
            ):
                flat = ops.reshape(prior(x), (48, 11))
            return ops.sum(flat[position])

        reached = np.abs(gradient(output, embedded)[0]).max(axis=-1)
        np.testing.assert_array_equal(
            reached.reshape(-1) > 0, np.arange(48) < position
        )


def test_class_and_coarser_map_matter_everywhere():
    prior, x = make_prior(), inputs(1)
    before = logits(prior, x)
    other_class = logits(prior, {**x, "labels": np.array([2])})
    coarser = x["codes"][0].copy()
    coarser[0, 2, 3] = (coarser[0, 2, 3] + 1) % 11
    other_map = logits(prior, {**x, "codes": (coarser, x["codes"][1])})
    assert (np.abs(other_class - before).max(axis=-1) > 0).all()
    moved = np.abs(other_map - before).max(axis=-1)[0] > 0
    assert moved[4:, 6:].all(), "nothing came to the cell's own positions"


def test_loss_is_the_mean_nll_in_nats():
    prior, x = make_prior(dropout=0.0), inputs(6)
    prior.compile("sgd")
    result = prior.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    z = logits(prior, x).astype("float64")
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    nll = -np.take_along_axis(z, x["codes"][1][..., None], axis=-1).mean()
    assert result["loss"] == pytest.approx(nll, rel=1e-5)
    assert result["bits_per_dim"] == pytest.approx(nll / np.log(2), rel=1e-5)


def test_rematerialized_steps_equal_plain_ones():
    """Dropout included: its masks must be the same in both passes."""
    x = inputs(3)
    trained = []
    for rematerialize in (False, True):
        keras.utils.set_random_seed(5)
        prior = make_prior(rematerialize=rematerialize, class_dropout=0.3)
        prior.compile(keras.optimizers.SGD(0.001))
        for _ in range(3):
            prior.train_on_batch(x)
        trained.append(prior.get_weights())
    for plain, again, fresh in zip(
        *trained, make_prior(class_dropout=0.3).get_weights(), strict=True
    ):
        assert (plain != fresh).any()
        np.testing.assert_allclose(again, plain, atol=1e-5)


def test_fit_learns_a_constant_map():
    keras.utils.set_random_seed(0)
    prior = PixelSNAILPrior(
        **{**WHOLE_PRIOR, "dropout": 0.1, "class_dropout": 0.2}
    )
    prior.compile(keras.optimizers.Adam(1e-2))
    x = inputs(8)
    x["codes"] = (x["codes"][0], np.full((8, 6, 8), 5))
    history = prior.fit(x, batch_size=4, epochs=15, verbose=0).history
    assert history["loss"][0] > 0.5
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert history["skipped_steps"][-1] == 0


def test_config_round_trip():
    prior = make_prior()
    text = json.dumps(keras.saving.serialize_keras_object(prior))
    copy = keras.saving.deserialize_keras_object(json.loads(text))
    assert copy.get_config() == prior.get_config()
    copy.set_weights(prior.get_weights())
    np.testing.assert_array_equal(
        logits(copy, inputs()), logits(prior, inputs())
    )


def test_mixed_precision():
    prior = make_prior(dtype="mixed_bfloat16")
    assert {w.dtype for w in prior.trainable_weights} == {"float32"}
    result = prior(inputs())
    assert keras.backend.standardize_dtype(result.dtype) == "float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"code_shapes": ()}, "`code_shapes` must be"),
        ({"code_shapes": (3, 4)}, "`code_shapes` must be"),
        ({"code_shapes": ((4, 4), (12, 12))}, r"1, 2, 4, .* times"),
        ({"code_shapes": ((4, 4), (8, 16))}, r"1, 2, 4, .* times"),
        ({"num_embeddings": 0}, "`num_embeddings` must be an integer.*: 0"),
        ({"num_blocks": 1}, "2 attention layers need as many blocks"),
        ({"num_heads": 3}, "multiple of `num_heads`.*8 and 3"),
        ({"kernel_size": 4}, "`kernel_size` must be an odd integer"),
        ({"kernel_size": 33}, "`kernel_size` must be .* in 3..31"),
        ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1"),
        ({"dropout": float("nan")}, "`dropout` must be at least 0 and below"),
        ({"code_shapes": ((2000, 2000),)}, "integers in 1..1024"),
        ({"seed": -1}, "`seed` must be an integer in 0.."),
        (
            {"residual_dim": 16384, "hidden_dim": 8192, "num_blocks": 256},
            "a model of up to .* parameters, more than the",
        ),
        ({"num_classes": None, "class_dropout": 0.1}, "needs `num_classes`"),
        ({"class_dropout": 1.0}, "must be at least 0 and below 1"),
    ],
)
def test_argument_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelSNAILPrior(**{**WHOLE_PRIOR, **arguments})

import threading

import keras
import numpy as np
import pytest
from keras import ops
from tiny_models import make_prior
from tiny_models import random_codes

from keras_vqvae2.backend import threads
from keras_vqvae2.backend.threads import threads_for
from keras_vqvae2.sampling import cached_sampler
from keras_vqvae2.sampling.cached_sampler import CachedSampler
from keras_vqvae2.sampling.draws import draw_codes
from keras_vqvae2.sampling.draws import truncate_logits
from keras_vqvae2.sampling.draws import uniform_draws

TOP = random_codes(3, (3, 4))
LABELS = np.array([2, 0, 1])


def sample(prior, numbers=(0, 1, 2), seed=0, forced=None, **kwargs):
    sampler = CachedSampler(prior, keep_logits=True, **kwargs)
    numbers = list(numbers)
    return sampler.sample(
        uniform_draws(seed, numbers, (6, 8)),
        [TOP[numbers]],
        LABELS[numbers],
        forced,
    )


def full_logits(prior, own, numbers=(0, 1, 2)):
    numbers = list(numbers)
    x = {"codes": (TOP[numbers], own), "labels": LABELS[numbers]}
    return ops.convert_to_numpy(prior(x))


def log_softmax(x):
    x = x.astype("float64") - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize(
    "changes", [{}, {"num_attention_layers": 0}, {"kernel_size": 3}]
)
def test_cached_equals_full_under_teacher_forcing(changes, monkeypatch):
    # Several lengths of what attention sees, also on a small map.
    monkeypatch.setattr(cached_sampler, "_MIN_PREFIX", 2)
    prior = make_prior(**changes)
    forced = random_codes(3, (6, 8), seed=9)
    own, log_probability, logits = sample(prior, forced=forced)
    np.testing.assert_array_equal(own, forced)
    expected = full_logits(prior, forced)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(logits, expected, atol=2e-5 * scale)
    nll = np.take_along_axis(
        log_softmax(expected), forced[..., None], axis=-1
    ).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(log_probability, nll, rtol=1e-4)


def test_cached_equals_full_in_float64():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("some operations of the other backends are in float32")
    prior = make_prior(dtype="float64")
    forced = random_codes(3, (6, 8), seed=9)
    _, _, logits = sample(prior, forced=forced)
    expected = full_logits(prior, forced)
    assert logits.dtype == expected.dtype == "float64"
    np.testing.assert_allclose(logits, expected, rtol=1e-10, atol=1e-10)


def test_greedy_samples_are_the_argmax_of_the_full_pass():
    prior = make_prior()
    own, _, _ = sample(prior, top_k=1)
    np.testing.assert_array_equal(full_logits(prior, own).argmax(-1), own)


def test_samples_follow_the_draws():
    """Each code is the inverse cumulative probability of its draw."""
    prior = make_prior()
    own, _, _ = sample(prior, temperature=2.0)
    p = np.exp(log_softmax(full_logits(prior, own) / 2.0))
    cumulative = p.cumsum(axis=-1)
    draws = uniform_draws(0, range(3), (6, 8))
    after = np.take_along_axis(cumulative, own[..., None], -1)[..., 0]
    before = after - np.take_along_axis(p, own[..., None], -1)[..., 0]
    assert (before <= draws + 1e-4).all() and (draws <= after + 1e-4).all()
    assert len(np.unique(own)) > 3


def test_an_image_depends_on_seed_and_number_only():
    prior = make_prior()
    together, _, _ = sample(prior)
    alone, _, _ = sample(prior, numbers=[1])
    np.testing.assert_array_equal(alone[0], together[1])
    other, _, _ = sample(prior, seed=1)
    assert (other != together).mean() > 0.2


@pytest.mark.parametrize("scale", [0.0, 2.5])
def test_guided_codes_are_the_argmax_of_the_guided_full_pass(scale):
    prior = make_prior(class_dropout=0.1)
    own, log_probability, logits = sample(prior, top_k=1, guidance_scale=scale)
    with_class = full_logits(prior, own)
    x = {"codes": (TOP, own), "labels": np.full((3,), 3)}
    without = ops.convert_to_numpy(prior(x))
    guided = without + scale * (with_class - without)
    np.testing.assert_array_equal(guided.argmax(-1), own)
    assert (with_class.argmax(-1) != own).any()
    # Logits and log-probability stay the prior's own.
    scale = np.abs(with_class).max()
    np.testing.assert_allclose(logits, with_class, atol=2e-5 * scale)
    nll = np.take_along_axis(log_softmax(with_class), own[..., None], -1)
    np.testing.assert_allclose(
        log_probability, nll.sum(axis=(1, 2, 3)), rtol=1e-4
    )


def test_guidance_without_class_dropout():
    with pytest.raises(ValueError, match="trained with `class_dropout`"):
        CachedSampler(make_prior(), guidance_scale=2.0)


def test_partly_forced_codes():
    prior = make_prior()
    free, _, _ = sample(prior)
    forced = free.copy()
    forced[:, 3:] = -1
    again, _, _ = sample(prior, forced=forced)
    np.testing.assert_array_equal(again, free)


def test_small_networks_get_one_thread_of_pytorch():
    if keras.backend.backend() != "torch":
        pytest.skip("threads that meet after every operation")
    import torch

    prior, seen = make_prior(), []

    def on_row(row):
        seen.append(torch.get_num_threads())
        if row == 2:
            raise KeyboardInterrupt

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            CachedSampler(prior).sample(
                uniform_draws(0, range(3), (6, 8)), [TOP], LABELS, None, on_row
            )
        assert seen == [1, 1] and torch.get_num_threads() == 2
        with threads_for(2**26):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_parts_of_a_batch_side_by_side(monkeypatch):
    """They give what one batch does; the second part is filled up."""
    prior = make_prior(num_attention_layers=0)
    expected = sample(prior)
    monkeypatch.setattr(cached_sampler, "num_batch_parts", lambda _: 2)
    sampler = CachedSampler(prior, keep_logits=True)
    for _ in range(2):  # compiled, then side by side from the first row on
        codes, log_probability, logits = sampler.sample(
            uniform_draws(0, range(3), (6, 8)), [TOP], LABELS
        )
        np.testing.assert_array_equal(codes, expected[0])
        np.testing.assert_allclose(log_probability, expected[1], rtol=1e-4)
        np.testing.assert_allclose(
            logits, expected[2], atol=2e-5 * np.abs(expected[2]).max()
        )


def test_parts_end_with_the_row_they_are_at(monkeypatch):
    monkeypatch.setattr(cached_sampler, "num_batch_parts", lambda _: 3)
    before, rows = threading.active_count(), []

    def on_row(row):
        rows.append(row)
        if row == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CachedSampler(make_prior(num_attention_layers=0)).sample(
            uniform_draws(0, range(3), (6, 8)), [TOP], LABELS, None, on_row
        )
    assert rows == [1, 2] and threading.active_count() == before


def test_as_many_parts_as_cores(monkeypatch):
    sizes = 1, 2, 3, 5, 8, 16, 18
    monkeypatch.setattr(threads, "_num_threads", lambda: 4)
    for by_xla, expected in ((True, [1, 2, 3, 3, 4, 4, 4]), (False, [1] * 7)):
        monkeypatch.setattr(threads, "on_cpu_by_xla", lambda x=by_xla: x)
        assert [threads.num_batch_parts(size) for size in sizes] == expected


def test_parts_are_for_one_processor_and_xla():
    backend = keras.backend.backend()
    if backend == "torch":  # its operations share the cores
        alone = False
    elif backend == "jax":
        import jax

        alone = [device.platform for device in jax.devices()] == ["cpu"]
    else:
        import tensorflow as tf

        devices = tf.config.list_logical_devices()
        alone = [device.device_type for device in devices] == ["CPU"]
    assert threads.on_cpu_by_xla() == alone


def test_draws_are_uniform():
    draws = uniform_draws(5, range(4), (64, 64))
    assert draws.dtype == "float32" and 0 <= draws.min() and draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.01
    counts = np.histogram(draws, bins=16, range=(0, 1))[0]
    assert np.abs(counts / draws.size * 16 - 1).max() < 0.15
    assert len(np.unique(draws[:, 0, 0])) == 4


def test_draw_codes():
    logits = np.log(np.tile([[0.5, 0.25, 0.0, 0.25]], (6, 1)) + 1e-30)
    draws = np.array([0.0, 0.49, 0.51, 0.74, 0.76, 1 - 2.0**-24])
    drawn = draw_codes(logits.astype("float32"), draws.astype("float32"))
    np.testing.assert_array_equal(
        ops.convert_to_numpy(drawn), [0, 0, 1, 1, 3, 3]
    )


def test_truncation():
    logits = np.log([[0.1, 0.4, 0.2, 0.3]]).astype("float32")

    def kept(**kwargs):
        result = ops.convert_to_numpy(
            truncate_logits(ops.convert_to_tensor(logits), **kwargs)
        )[0]
        return list(np.flatnonzero(result > -1e29)), result

    assert kept(top_k=2)[0] == [1, 3]
    assert kept(top_k=9)[0] == [0, 1, 2, 3]
    assert kept(top_p=0.39)[0] == [1]
    assert kept(top_p=0.5)[0] == [1, 3]
    assert kept(top_p=0.75)[0] == [1, 2, 3]
    assert kept(top_p=1.0)[0] == [0, 1, 2, 3]
    assert kept(top_k=2, top_p=0.6)[0] == [1, 3]
    assert kept(top_k=2, top_p=0.5)[0] == [1]
    np.testing.assert_allclose(
        kept(temperature=0.5)[1], 2 * logits[0], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be positive.*top_k=1"),
        ({"temperature": float("nan")}, "`temperature` must be positive"),
        ({"top_k": 0}, "`top_k` must be a positive integer"),
        ({"top_p": 1.5}, r"`top_p` must be in \(0, 1\]. Received: 1.5"),
        ({"guidance_scale": -1.0}, "`guidance_scale` must not be negative"),
        ({"guidance_scale": float("nan")}, "must not be negative"),
        ({"top_p": 0}, r"`top_p` must be in \(0, 1\]"),
    ],
)
def test_argument_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        CachedSampler(make_prior(), **arguments)

"""Two replicas of `tf.distribute` equal one on the same global batch."""

import contextlib
import functools

import keras
import numpy as np
import pytest
import runs

if keras.backend.backend() != "tensorflow":
    pytest.skip(
        "tf.distribute needs the tensorflow backend", allow_module_level=True
    )

import tensorflow as tf

from keras_vqvae2.layers import vector_quantizer
from keras_vqvae2.training import Muon
from keras_vqvae2.training import distribute
from keras_vqvae2.training import tensorflow_step


def mirrored_strategy():
    with distribute("mirrored") as replicas:
        assert replicas == 2
        return tf.distribute.get_strategy()


def run(
    stage,
    replicas,
    accumulation=1,
    thorough=True,
    check_copies=True,
    **options,
):
    strategy = mirrored_strategy() if replicas > 1 else None
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = runs.make_model(stage, **options)
        model.compile(
            # So low a norm that every step is clipped.
            keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
            gradient_accumulation_steps=accumulation,
        )
    results = runs.train(model, stage, thorough=thorough)
    if strategy and check_copies:
        for weight in model.weights:
            copies = strategy.experimental_local_results(weight.value)
            assert len(copies) == replicas
            np.testing.assert_array_equal(*copies, weight.path)
    return results


@functools.cache
def one_replica(stage, **options):
    return run(stage, 1, **options)


@pytest.mark.parametrize("stage", runs.STAGES)
def test_two_replicas_are_one(stage):
    one, two = one_replica(stage), run(stage, 2)
    difference, name = runs.largest_difference(two, one)
    print(f"{stage}: {len(one)} arrays, {difference:.1e} at {name}")
    assert difference < 1e-5, name
    assert stage == "prior" or one["restarts"] > 3


class Float32Muon(Muon):
    _newton_schulz_dtype = "float32"


def compiled(optimizer, strategy=None, **options):
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = runs.make_model("vqvae", filled=True)
        model.compile(optimizer(1e-3, global_clipnorm=1.0, **options))
    return model


@pytest.mark.parametrize(
    ("replicas", "average"), [(1, False), (2, False), (2, True)]
)
def test_own_optimizer(replicas, average):
    """Muon, and the average of its weights, on one device or two.

    In bfloat16, where two roundings meet, its steps differ by one in 256 of
    their size, and the next code that is chosen may be another.
    """
    if replicas == 1:
        # Beside the one for all tests: a single device has no collectives.
        strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    else:
        strategy = mirrored_strategy()
    options = {"use_ema": average, "ema_momentum": 0.9}
    found, expected = (
        runs.train(compiled(Float32Muon, s, **options), "vqvae", thorough=False)
        for s in (strategy, None)
    )
    difference, name = runs.largest_difference(found, expected)
    print(f"{replicas}: {difference:.1e} at {name}")
    assert difference < 1e-5, name


def test_own_optimizer_in_bfloat16(monkeypatch):
    """As it ships; steps of a replica's own gradients are told apart.

    Of three steps, without restarts, in which one other code makes another
    model: kernels that move by some 2e-4 in each.
    """

    def kernels(strategy=None):
        model = compiled(Muon, strategy)
        for quantizer in model.quantizers:
            quantizer.dead_code_threshold = 0.0
        results = runs.train(model, "vqvae", epochs=1, thorough=False)
        return {k: v for k, v in results.items() if k.endswith("/kernel")}

    limit = 1e-4
    expected = kernels()
    found = kernels(mirrored_strategy())
    difference, name = runs.largest_difference(found, expected)
    print(f"{difference:.1e} at {name}")
    assert difference < limit, name
    monkeypatch.setattr(tensorflow_step, "_sum_over_replicas", _own_alone)
    difference, name = runs.largest_difference(
        kernels(mirrored_strategy()), expected
    )
    print(f"mutant: {difference:.1e} at {name}")
    assert difference > 5 * limit


@pytest.mark.parametrize("left_out", ["sums", "candidates", "gradients"])
def test_without_all_reduce_they_are_not(left_out, monkeypatch):
    """Mutants of the library, which the test above must notice."""
    if left_out == "gradients":
        monkeypatch.setattr(tensorflow_step, "_sum_over_replicas", _own_alone)
    else:
        reduce = vector_quantizer.replica_sum

        def partly(tensors):
            kind = "sums" if len(tensors) > 1 else "candidates"
            return tensors if kind == left_out else reduce(tensors)

        monkeypatch.setattr(vector_quantizer, "replica_sum", partly)
    expected = one_replica("vqvae", thorough=False)
    mutant = run("vqvae", 2, thorough=False, check_copies=False)
    difference, name = runs.largest_difference(mutant, expected)
    print(f"without {left_out}: {difference:.1e} at {name}")
    assert difference > 1e-3


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_accumulated_steps_are_whole_ones(stage):
    """2 parts of 2 on each of two replicas equal 8 on one."""
    options = {"filled": True} if stage == "vqvae" else {}
    whole = one_replica(stage, thorough=False, **options)
    parts = run(stage, 2, accumulation=2, thorough=False, **options)
    difference, name = runs.largest_difference(parts, whole)
    print(f"{stage}: {difference:.1e} at {name}")
    assert difference < 1e-5, name


@pytest.mark.parametrize(("stage", "limit"), [("vqvae", 0.1), ("prior", 5e-3)])
def test_mixed_bfloat16(stage, limit, monkeypatch):
    """Gradients of a replica are rounded to 8 bits before they are summed."""
    options = {"dtype": "mixed_bfloat16", "thorough": False}
    if stage == "vqvae":
        options["filled"] = True
    one = one_replica(stage, **options)
    difference, name = runs.largest_difference(run(stage, 2, **options), one)
    print(f"{stage}: {difference:.1e} at {name}")
    assert difference < limit, name
    monkeypatch.setattr(tensorflow_step, "_sum_over_replicas", _own_alone)
    mutant = run(stage, 2, check_copies=False, **options)
    assert runs.largest_difference(mutant, one)[0] > 3 * limit


def _own_alone(gradients):
    return [tf.convert_to_tensor(g) for g in gradients]

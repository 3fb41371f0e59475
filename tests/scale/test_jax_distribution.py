"""Two devices of `keras.distribution` equal one on the same batch."""

import functools
import re

import keras
import numpy as np
import pytest
import runs

from keras_vqvae2 import PixelSNAILPrior

if keras.backend.backend() != "jax":
    pytest.skip(
        "keras.distribution needs the jax backend", allow_module_level=True
    )

import jax


def run(stage, accumulation=1, thorough=True, **options):
    model = runs.make_model(stage, **options)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
        gradient_accumulation_steps=accumulation,
    )
    results = runs.train(model, stage, thorough=thorough)
    return model, results


@functools.cache
def one_device(stage, **options):
    keras.distribution.set_distribution(None)
    return run(stage, **options)[1]


def assert_same(results, expected):
    difference, name = runs.largest_difference(results, expected)
    print(f"{len(results)} arrays, {difference:.1e} at {name}")
    assert difference < 1e-5, name


def devices():
    assert len(jax.devices()) >= 2
    return keras.distribution.list_devices()[:2]


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_data_parallel(stage):
    expected = one_device(stage)
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices())
    )
    model, results = run(stage)
    assert_same(results, expected)
    assert stage == "prior" or expected["restarts"] > 3
    for weight in model.weights:
        assert len(weight.value.sharding.device_set) == 2, weight.path


@pytest.mark.parametrize("stage", ["vqvae", "prior"])
def test_accumulated_steps_are_whole_ones(stage):
    options = {"filled": True} if stage == "vqvae" else {}
    expected = one_device(stage, thorough=False, **options)
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices())
    )
    assert_same(
        run(stage, accumulation=2, thorough=False, **options)[1], expected
    )


def mesh(batch, model):
    return keras.distribution.DeviceMesh(
        (batch, model), ("batch", "model"), devices()
    )


@pytest.mark.parametrize("shape", [(1, 2), (2, 1)])
def test_model_parallel_prior(shape):
    expected = one_device("prior")
    layout_map = PixelSNAILPrior.get_layout_map(mesh(*shape))
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout_map)
    )
    model, results = run("prior")
    assert_same(results, expected)
    kernel = model.blocks[0].vertical_conv.kernel
    (shard, *_) = kernel.value.addressable_shards
    assert shard.data.shape[-1] == kernel.shape[-1] // shape[1]


def test_every_pattern_matches_a_weight_of_its_rank():
    layout_map = PixelSNAILPrior.get_layout_map(mesh(1, 2))
    model = runs.make_model("prior")
    matches = dict.fromkeys(layout_map, 0)
    for weight in model.weights:
        found = [p for p in layout_map if re.fullmatch(p, weight.path)]
        assert len(found) <= 1, weight.path
        for pattern in found:
            matches[pattern] += 1
            axes = layout_map[pattern].axes
            assert len(axes) == len(weight.shape), weight.path
    assert min(matches.values()) >= 1, matches
    # What is split is most of the weights at the paper's sizes.
    split = sum(
        np.prod(w.shape)
        for w in model.weights
        if layout_map[w.path] is not None
    )
    assert split > 0.5 * model.count_params()


def test_mesh_without_the_axis():
    with pytest.raises(ValueError, match="no axis 'tensor'. It has: batch, mo"):
        PixelSNAILPrior.get_layout_map(mesh(1, 2), "tensor")

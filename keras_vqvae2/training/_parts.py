"""The parts of a batch, which a training step computes one after the other."""

import contextlib

import keras
from keras import ops

from keras_vqvae2.backend.remat import given_seeds
from keras_vqvae2.backend.step_record import StepRecord
from keras_vqvae2.layers import VectorQuantizer


def quantizers_of(model):
    """The trainable quantizers of a model, in a fixed order."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, VectorQuantizer) and layer.trainable
    ]


def shared_generators(model):
    """Seed generators that give all parts of a batch the same draws.

    None for a batch of one part: the replicas of `tf.distribute`, which take
    turns at a sum over them, share the generators that `given_seeds` patches.
    """
    if model.gradient_accumulation_steps == 1:
        return []
    layers = [model, *quantizers_of(model)]
    return [layer.seed_generator for layer in layers]


@contextlib.contextmanager
def recorded_part(generators, seeds, index, count):
    """Scope of the forward pass over a part; yields its `StepRecord`."""
    with StepRecord(index, count).scope() as record:
        with given_seeds(generators, seeds):
            yield record


def take_part(data, index, count):
    """Every `count`-th example of a batch, from the `index`-th on.

    So each device of a sharded batch has as many of each part.

    Raises:
        ValueError: If the batch is no multiple of `count`.
    """
    if count == 1:
        return data

    def take(x):
        if x is None:
            return None
        if x.shape[0] is not None and x.shape[0] % count:
            raise ValueError(
                f"A batch of {x.shape[0]} on each device cannot be split into "
                f"gradient_accumulation_steps={count} equal parts. Pass a "
                "batch size that is a multiple of it times the number of "
                "devices, and drop the remainder."
            )
        parts = ops.reshape(x, (-1, count, *ops.shape(x)[1:]))
        return ops.take(parts, index, axis=1)

    return keras.tree.map_structure(take, data)

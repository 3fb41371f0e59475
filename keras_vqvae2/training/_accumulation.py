"""A batch in parts, one after the other, for training steps."""

import keras
from keras import ops

from keras_vqvae2.layers import VectorQuantizer


def quantizers_of(model):
    """The quantizers of a model that learn, in a fixed order."""
    return [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, VectorQuantizer) and layer.trainable
    ]


def shared_generators(model):
    """Seed generators that give all parts of a batch the same draws."""
    layers = [model, *quantizers_of(model)]
    return [layer.seed_generator for layer in layers]


def split_batch(data, count):
    """Arrays `(batch, ...)` as `(batch / count, count, ...)`.

    Part `i` is `[:, i]`: every `count`-th example, so that each device of a
    sharded batch has as many of each part.

    Raises:
        ValueError: If the batch is no multiple of `count`.
    """

    def split(x):
        if x is None:
            return None
        if x.shape[0] is not None and x.shape[0] % count:
            raise ValueError(
                f"A batch of {x.shape[0]} on each device cannot be split into "
                f"gradient_accumulation_steps={count} equal parts. Pass a "
                "batch size that is a multiple of it times the number of "
                "devices, and drop the remainder."
            )
        return ops.reshape(x, (-1, count, *ops.shape(x)[1:]))

    return keras.tree.map_structure(split, data)


def take_part(parts, index):
    """Part `index` of what `split_batch` returned."""
    return keras.tree.map_structure(
        lambda x: None if x is None else ops.take(x, index, axis=1), parts
    )

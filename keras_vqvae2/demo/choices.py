"""The models that a page offers, loaded when they are first used."""

import dataclasses
import functools

from keras_vqvae2.hub import list_presets
from keras_vqvae2.hub.store import find_snapshot
from keras_vqvae2.levels import level_names
from keras_vqvae2.vqvae2 import from_pretrained


@dataclasses.dataclass(frozen=True)
class Choice:
    """What a page must know of a model before it is loaded.

    Args:
        num_levels: Number of its code maps.
        image_size: `(height, width)` of the images that its priors draw, None
            if it has no priors for all levels.
        classes: Its priors' classes: names, or numbers if they have none.
        can_be_guided: Whether they were trained with `class_dropout`.
    """

    num_levels: int
    image_size: tuple | None
    classes: tuple
    can_be_guided: bool


def bundled_models():
    """Names of the presets whose weights came with the package."""
    return [p.name for p in list_presets() if p.source == "bundled"]


def find_choices(names=None):
    """The `Choice` of each model, by name.

    Args:
        names: Presets, folders or Hub repositories; None takes
            `bundled_models`.

    Raises:
        ValueError: If a model is not of RGB images, or `from_pretrained`
            would raise it.
        OSError: If `from_pretrained` would raise it.
    """
    names = list(names or bundled_models())
    if not names:
        raise ValueError(
            "No weights came with this package: name a model as `model`."
        )
    return {name: _choice(name, find_snapshot(name).config) for name in names}


def _choice(name, config):
    if config.vqvae.num_channels != 3:
        raise ValueError(
            f"The page is for RGB images. {name} has images of "
            f"{config.vqvae.num_channels} channels."
        )
    strides = config.vqvae.strides
    levels = level_names(len(strides))
    image_size, priors = None, list(config.priors.values())
    if set(config.priors) == set(levels):
        # The finest map's shape is in the finest level's prior.
        finest = config.priors[levels[-1]].code_shapes[-1]
        image_size = tuple(length * strides[0] for length in finest)
    return Choice(
        num_levels=len(levels),
        image_size=image_size,
        classes=_classes(config, priors),
        can_be_guided=bool(priors) and all(p.class_dropout for p in priors),
    )


def _classes(config, priors):
    number = priors[0].num_classes if priors else None
    return config.labels or tuple(range(number or 0))


@functools.lru_cache(maxsize=2)
def load(name):
    """A model with its priors, kept for the next time."""
    return from_pretrained(name).keep_priors()

"""Which codes the context model of a level looks at."""

import dataclasses
import functools
import math

import numpy as np

from keras_vqvae2.levels import level_names


@dataclasses.dataclass(frozen=True)
class ContextWindow:
    """Which codes a level's network sees.

    Args:
        num_neighbors: How many codes of the same map, all of them before the
            code in raster order: the nearest ones.
        ratio: Stride between this level and the next coarser one; None for
            the coarsest.
        coarse_radius: The network sees the `(2 r + 1)^2` codes of the next
            coarser map around the one that covers the code.
    """

    num_neighbors: int
    ratio: int | None = None
    coarse_radius: int = 1

    @functools.cached_property
    def neighbors(self):
        """Offsets `(rows, columns)`, nearest first, then in raster order."""
        radius = self.num_neighbors
        offsets = [
            (dy, dx)
            for dy in range(-radius, 1)
            for dx in range(-radius, radius + 1)
            if dy < 0 or dx < 0
        ]
        offsets.sort(key=lambda offset: (math.hypot(*offset), offset))
        return tuple(offsets[: self.num_neighbors])

    @property
    def coarse(self):
        """Offsets in the coarser map, in raster order."""
        if self.ratio is None:
            return ()
        side = range(-self.coarse_radius, self.coarse_radius + 1)
        return tuple((dy, dx) for dy in side for dx in side)

    @property
    def slope(self):
        """How many columns a row lags behind the one above it.

        Codes with the same `column + slope * row` do not see each other, and
        see only codes where that is less.
        """
        return 1 + max(
            [dx // -dy for dy, dx in self.neighbors if dy < 0 and dx > 0],
            default=0,
        )


def context_windows(config, strides):
    """`ContextWindow` of each level by name, coarse to fine.

    Args:
        config: `hub.context_config.ContextConfig`.
        strides: Strides of the levels, finest first.
    """
    ratios = (None, *reversed(strides[1:]))
    return {
        name: ContextWindow(config.num_neighbors, ratio, config.coarse_radius)
        for name, ratio in zip(level_names(len(strides)), ratios, strict=True)
    }


def pad_codes(codes, offsets, outside):
    """Code maps with a margin for a window.

    Args:
        codes: Integer array `(height, width)`.
        offsets: Offsets `(rows, columns)` that will be looked at.
        outside: What codes outside of the image count as.

    Returns:
        `(padded, radius)`: an array `(height + 2 radius, width + 2 radius)`
        and its margin.
    """
    radius = max([abs(side) for offset in offsets for side in offset])
    return np.pad(codes, radius, constant_values=outside), radius

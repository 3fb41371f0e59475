"""The probability of each code, given the codes near it that came before.

One small network a level, evaluated in float64 with NumPy. A logit is then
snapped to a grid, and from there on everything is whole numbers: machines
agree on them although their float64 differs in the last bits. `docs/format.md`
says all of this byte by byte.
"""

import functools
import itertools
import logging
import math
from operator import mul

import numpy as np

from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.codec.blas_threads import one_blas_thread
from keras_vqvae2.codec.context_level import GRID
from keras_vqvae2.codec.context_level import ContextLevel
from keras_vqvae2.codec.context_window import context_windows
from keras_vqvae2.codec.range_coder import RangeDecoder
from keras_vqvae2.codec.range_coder import RangeEncoder

# A logit nearer than this to a boundary of the grid is not trusted to any
# machine's rounding: the encoder says on which side it counts. Far above the
# error of float64, which is about 1e-13 here.
MARGIN = 1e-9
# Float16's greatest: within it, and below the bound of the logits, float64 is
# as exact as that.
_MAX_WEIGHT = 65504
# Codes of a map that take seconds.
_LARGE = 2**15

_logger = logging.getLogger(__name__)


class ContextModel:
    """The networks of all levels of a model.

    Args:
        config: `hub.context_config.ContextConfig`.
        strides: Strides of the levels, finest first.
        num_embeddings: Codebook entries of each level.
        arrays: Dict of the float arrays of `context.safetensors`, names and
            shapes as `array_shapes` gives them.

    Raises:
        ValueError: If an array is missing, unknown, or of another shape or
            dtype, or has values that are not finite.
    """

    def __init__(self, config, strides, num_embeddings, arrays):
        self.config = config
        self.strides = tuple(strides)
        self.num_embeddings = num_embeddings
        self.arrays = dict(arrays)
        expected = array_shapes(config, strides, num_embeddings)
        _check_arrays(arrays, expected)
        self.digest = arrays_digest(arrays)

    def level_arrays(self, level):
        """Dict of a level's arrays, by their names without the level's."""
        prefix = f"{level}/"
        return {
            name.removeprefix(prefix): array
            for name, array in self.arrays.items()
            if name.startswith(prefix)
        }

    @functools.cached_property
    def _levels(self):
        return [
            ContextLevel(window, self.level_arrays(name))
            for name, window in context_windows(
                self.config, self.strides
            ).items()
        ]

    def __getstate__(self):
        # Another process makes its tables from the arrays.
        state = dict(vars(self))
        state.pop("_levels", None)
        return state

    def scan_level(self, level, shape, *args):
        """`ContextLevel.scan` of one level, counted coarse to fine."""
        height, width = shape
        if height * width > _LARGE:
            _logger.info("Coding a map of %dx%d codes", width, height)
        # Its products are so small that threads only wait for each other.
        with one_blas_thread():
            return self._levels[level].scan(shape, *args)

    def scan(self, shapes, make_choose, snap, known=None):
        """Visits the codes of all maps, coarse to fine; see `ContextLevel`.

        Args:
            shapes: `(height, width)` of each map.
            make_choose: Function of the number of the level that returns
                `choose` of `ContextLevel.scan`.
            snap: Function of `(scaled, first)`: logits in units of the grid,
                `(N, num_embeddings)`, and the number of each one's first
                logit, `(N,)`, to whole numbers.
            known: The maps, where they are known beforehand: faster.

        Returns:
            Tuple of int32 arrays.
        """
        maps = []
        start = 0
        for i, shape in enumerate(shapes):
            width = shape[1]

            def snap_level(scaled, rows, columns, start=start, width=width):
                places = start + rows * width + columns
                return snap(scaled, places * self.num_embeddings)

            codes = self.scan_level(
                i,
                shape,
                maps[-1] if maps else None,
                make_choose(i),
                snap_level,
                None if known is None else known[i],
            )
            maps.append(codes)
            start += math.prod(shape)
        return tuple(maps)

    def encode(self, codes):
        """A message that holds code maps.

        Args:
            codes: Sequence of integer arrays `(height_i, width_i)`, coarse to
                fine.

        Returns:
            `(message, sides)`: bytes, and what `decode` must know beside.
        """
        encoder = RangeEncoder()
        sides = []

        def make_choose(i):
            def choose(rows, columns, counts):
                symbols = codes[i][rows, columns]
                encoder.encode(symbols, counts)
                return symbols

            return choose

        def snap(scaled, first):
            below = np.floor(scaled)
            near = np.rint(scaled)
            rows, columns = np.nonzero(np.abs(scaled - near) < MARGIN * GRID)
            for row, column in zip(rows, columns, strict=True):
                side = int(below[row, column] == near[row, column])
                sides.append((int(first[row] + column), side))
            return below

        shapes = [level.shape for level in codes]
        self.scan(shapes, make_choose, snap, codes)
        return encoder.message(), tuple(sorted(sides))

    def decode(self, message, sides, shapes):
        """Code maps of a message.

        Args:
            message: Bytes that `encode` returned.
            sides: What it returned beside.
            shapes: `(height, width)` of each map, coarse to fine.

        Returns:
            Tuple of int32 arrays.

        Raises:
            ValueError: If `encode` cannot have made the message.
        """
        decoder = RangeDecoder(message)
        listed = np.array([index for index, _ in sides], "int64")
        above = np.array([side for _, side in sides], "int64")

        def snap(scaled, first):
            below = np.floor(scaled)
            start = np.searchsorted(listed, first)
            end = np.searchsorted(listed, first + self.num_embeddings)
            for row in np.nonzero(end > start)[0]:
                columns = listed[start[row] : end[row]] - first[row]
                side = above[start[row] : end[row]]
                near = np.rint(scaled[row, columns])
                below[row, columns] = near - 1 + side
            return below

        def make_choose(i):
            return lambda rows, columns, counts: decoder.decode(counts)

        return self.scan(shapes, make_choose, snap)


def bits_per_pixel(strides, bits):
    """Bits per pixel of codes, of a large image.

    Args:
        strides: Strides of the levels, finest first.
        bits: Bits of a code of each level, coarse to fine.
    """
    pixels = itertools.accumulate((stride**2 for stride in strides), mul)
    return sum(
        level_bits / area
        for level_bits, area in zip(bits, reversed(list(pixels)), strict=True)
    )


def array_shapes(config, strides, num_embeddings):
    """Shapes of the arrays of `context.safetensors` by name.

    Args:
        config: `hub.context_config.ContextConfig`.
        strides: Strides of the levels, finest first.
        num_embeddings: Codebook entries of each level.
    """
    codes, dim = num_embeddings + 1, config.embedding_dim
    first, *others = config.hidden_dims
    shapes = {}
    for level, window in context_windows(config, strides).items():
        places = (window.ratio or 1) ** 2
        level_shapes = {
            "embeddings": (codes, dim),
            "neighbors/kernel": (config.num_neighbors, dim, first),
            "bias": (places, first),
        }
        if window.ratio is not None:
            level_shapes |= {
                "coarse_embeddings": (codes, dim),
                "coarse/kernel": (len(window.coarse), dim, config.coarse_dim),
                "coarse/bias": (config.coarse_dim,),
                "coarse_output/kernel": (config.coarse_dim, places, first),
            }
        width = first
        for i, hidden_dim in enumerate(others):
            level_shapes[f"hidden_{i + 1}/kernel"] = width, hidden_dim
            level_shapes[f"hidden_{i + 1}/bias"] = (hidden_dim,)
            width = hidden_dim
        level_shapes["output/kernel"] = width, num_embeddings
        level_shapes["output/bias"] = (num_embeddings,)
        for name, shape in level_shapes.items():
            shapes[f"{level}/{name}"] = shape
    return shapes


def _check_arrays(arrays, expected):
    if set(arrays) != set(expected):
        missing = sorted(set(expected) - set(arrays))
        unknown = sorted(set(arrays) - set(expected))
        raise ValueError(f"missing {missing[:5]}, unknown {unknown[:5]}")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape or array.dtype not in ("float16", "float32"):
            raise ValueError(
                f"{name} must be float16 or float32 of shape {shape}. "
                f"Received: {array.dtype} of shape {array.shape}"
            )
        if not (np.abs(array) <= _MAX_WEIGHT).all():
            raise ValueError(
                f"{name} has values beyond {_MAX_WEIGHT} or that are not finite"
            )

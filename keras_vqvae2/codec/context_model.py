"""The probability of each code, given the codes near it that came before.

One small network a level, evaluated in float64 with NumPy. A logit is then
snapped to a grid, and from there on everything is whole numbers: machines
agree on them although their float64 differs in the last bits. `docs/format.md`
says all of this byte by byte.
"""

import dataclasses
import functools
import itertools
import math
from operator import mul

import numpy as np

from keras_vqvae2.codec.arrays import arrays_digest
from keras_vqvae2.codec.blas_threads import one_blas_thread
from keras_vqvae2.codec.range_coder import RangeDecoder
from keras_vqvae2.codec.range_coder import RangeEncoder
from keras_vqvae2.codec.range_coder import frequencies
from keras_vqvae2.levels import level_names

# Logits are snapped to a grid of 1 / GRID, whose boundaries lie where no sum of
# a few rounded weights does.
GRID = 256
OFFSET = 0.3
# A logit nearer than this to a boundary of the grid is not trusted to any
# machine's rounding: the encoder says on which side it counts. Far above the
# error of float64, which is about 1e-13 here.
MARGIN = 1e-9
# Within these bounds float64 is as exact as that. The first is float16's.
_MAX_WEIGHT = 65504
_MAX_SCALED = 65536 * GRID


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


def pad_codes(codes, offsets, outside):
    """Code maps with a margin for a window.

    Args:
        codes: Integer array `(..., height, width)`.
        offsets: Offsets `(rows, columns)` that will be looked at.
        outside: What codes outside of the image count as.

    Returns:
        `(padded, radius)`: an array `(..., height + 2 radius, width + 2
        radius)` and its margin.
    """
    radius = max([abs(side) for offset in offsets for side in offset])
    pads = [(0, 0)] * (codes.ndim - 2) + [(radius, radius)] * 2
    return np.pad(codes, pads, constant_values=outside), radius


class ContextLevel:
    """The network of one level, in float64.

    With `r(x) = max(x, 0)`, the codes `c` of the neighbours and `d` of the
    coarser map, and the place `p` within the square that a coarser code
    covers:

        coarse = r(sum_j D[d_j] V_j + v)
        h_1 = r(sum_i E[c_i] W_i + coarse U_p + w_p)
        h_n = r(h_(n-1) W_n + w_n)
        logits = h_last O + o

    Args:
        window: `ContextWindow`.
        arrays: Dict of float arrays, by names as in `docs/format.md`.
    """

    def __init__(self, window, arrays):
        arrays = {
            name: np.asarray(array, "float64") for name, array in arrays.items()
        }
        self.window = window
        self.num_embeddings = arrays["embeddings"].shape[0] - 1
        # Each neighbour's part of the first layer, by its code.
        self._tables = _tables(arrays["embeddings"], arrays["neighbors/kernel"])
        self._bias = arrays["bias"]  # (places, hidden)
        if window.ratio is not None:
            self._coarse_tables = _tables(
                arrays["coarse_embeddings"], arrays["coarse/kernel"]
            )
            self._coarse_bias = arrays["coarse/bias"]
            # (coarse, places * hidden)
            self._coarse_output = arrays["coarse_output/kernel"].reshape(
                len(self._coarse_bias), -1
            )
        self._layers = []
        while f"hidden_{len(self._layers) + 1}/kernel" in arrays:
            name = f"hidden_{len(self._layers) + 1}"
            self._layers.append(
                (arrays[f"{name}/kernel"], arrays[f"{name}/bias"])
            )
        self._output = arrays["output/kernel"], arrays["output/bias"]

    def scan(self, shape, coarser, choose, snap):
        """Visits all codes of a map, in an order in which each is known.

        Codes that don't see each other go together: first those with the
        lowest `column + slope * row`, and among these from the top down.

        Args:
            shape: `(height, width)` of the map.
            coarser: Integer array, the next coarser map; None without one.
            choose: Function of `(rows, columns, counts)` that returns the
                codes `(N,)` at these places. `counts` are their `frequencies`
                `(N, num_embeddings)`.
            snap: Function of `(scaled, rows, columns)` from logits in units of
                the grid, `(N, num_embeddings)`, to whole numbers.

        Returns:
            int32 array of this shape.
        """
        height, width = shape
        window, slope = self.window, self.window.slope
        padded, radius = pad_codes(
            np.full(shape, self.num_embeddings, "int32"),
            window.neighbors,
            self.num_embeddings,
        )
        stride = padded.shape[1]
        flat = padded.reshape(-1)
        steps = np.array([dy * stride + dx for dy, dx in window.neighbors])
        first_layer = _FirstLayer(self, shape, coarser)
        for step in range(width + slope * (height - 1)):
            first = max(0, -(-(step - width + 1) // slope))
            rows = np.arange(first, min(height - 1, step // slope) + 1)
            if not len(rows):
                continue
            columns = step - slope * rows
            places = (rows + radius) * stride + columns + radius
            x = first_layer(rows, columns)
            near = flat[places[:, None] + steps]
            for table, codes in zip(self._tables, near.T, strict=True):
                x += table[codes]
            scaled = self._output_logits(x) * GRID + OFFSET
            if not np.abs(scaled).max() < _MAX_SCALED:
                raise ValueError(
                    "the context model's logits are too large to be exact"
                )
            counts = _counts(snap(scaled, rows, columns))
            flat[places] = choose(rows, columns, counts)
        return padded[radius : radius + height, radius : radius + width].copy()

    def _output_logits(self, x):
        np.maximum(x, 0, out=x)
        for kernel, bias in self._layers:
            x = x @ kernel
            x += bias
            np.maximum(x, 0, out=x)
        kernel, bias = self._output
        return x @ kernel + bias

    def _coarse_rows(self, padded, radius, row):
        """What a row of the coarser map adds to the first layer.

        Array `(ratio, width, hidden)`, for the rows that it covers.
        """
        width = padded.shape[1] - 2 * radius
        x = np.broadcast_to(self._coarse_bias, (width, len(self._coarse_bias)))
        x = x.copy()
        for (dy, dx), table in zip(
            self.window.coarse, self._coarse_tables, strict=True
        ):
            start = radius + dx
            x += table[padded[row + radius + dy, start : start + width]]
        np.maximum(x, 0, out=x)
        ratio = self.window.ratio
        x = (x @ self._coarse_output).reshape(width, ratio, ratio, -1)
        x += self._bias.reshape(ratio, ratio, -1)
        return x.swapaxes(0, 1).reshape(ratio, width * ratio, -1)


class _FirstLayer:
    """What does not depend on the neighbours, for some rows at a time."""

    def __init__(self, level, shape, coarser):
        self.level = level
        self.coarser = coarser
        if coarser is None:
            return
        window = level.window
        outside = len(level._coarse_tables[0]) - 1
        self.padded, self.radius = pad_codes(coarser, window.coarse, outside)
        height, width = shape
        # Rows that are visited together, and those that come along.
        num_rows = min(height, -(-width // window.slope) + 2 * window.ratio)
        num_rows = -(-num_rows // window.ratio) * window.ratio
        self.rows = np.empty((num_rows, width, level._bias.shape[1]))
        self.done = 0

    def __call__(self, rows, columns):
        if self.coarser is None:
            return np.repeat(self.level._bias, len(rows), axis=0)
        ratio = self.level.window.ratio
        while self.done <= rows[-1]:
            start = self.done % len(self.rows)
            self.rows[start : start + ratio] = self.level._coarse_rows(
                self.padded, self.radius, self.done // ratio
            )
            self.done += ratio
        return self.rows[rows % len(self.rows), columns]


def _tables(embeddings, kernel):
    """`embeddings @ kernel_i` for each i: `(offsets, codes, hidden)`."""
    return np.stack([embeddings @ part for part in kernel])


class ContextModel:
    """The networks of all levels of a model.

    Args:
        config: `hub.config.ContextConfig`.
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

    @functools.cached_property
    def _levels(self):
        return [
            ContextLevel(
                window,
                {
                    array.removeprefix(f"{name}/"): self.arrays[array]
                    for array in self.arrays
                    if array.startswith(f"{name}/")
                },
            )
            for name, window in context_windows(
                self.config, self.strides
            ).items()
        ]

    def __getstate__(self):
        # Another process makes its tables from the arrays.
        state = dict(vars(self))
        state.pop("_levels", None)
        return state

    def scan_level(self, level, *args):
        """`ContextLevel.scan` of one level, counted coarse to fine."""
        # Its products are so small that threads only wait for each other.
        with one_blas_thread():
            return self._levels[level].scan(*args)

    def scan(self, shapes, make_choose, snap):
        """Visits the codes of all maps, coarse to fine; see `ContextLevel`.

        Args:
            shapes: `(height, width)` of each map.
            make_choose: Function of the number of the level and the maps
                before it that returns `choose` of `ContextLevel.scan`.
            snap: Function of `(scaled, first)`: logits in units of the grid,
                `(N, num_embeddings)`, and the number of each one's first
                logit, `(N,)`, to whole numbers.

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
                make_choose(i, tuple(maps)),
                snap_level,
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

        def make_choose(i, maps):
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

        self.scan([level.shape for level in codes], make_choose, snap)
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

        def make_choose(i, maps):
            return lambda rows, columns, counts: decoder.decode(counts)

        return self.scan(shapes, make_choose, snap)


def context_windows(config, strides):
    """`ContextWindow` of each level by name, coarse to fine.

    Args:
        config: `hub.config.ContextConfig`.
        strides: Strides of the levels, finest first.
    """
    ratios = (None, *reversed(strides[1:]))
    return {
        name: ContextWindow(config.num_neighbors, ratio, config.coarse_radius)
        for name, ratio in zip(level_names(len(strides)), ratios, strict=True)
    }


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
        config: `hub.config.ContextConfig`.
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


@functools.cache
def _exponentials():
    """Whole numbers nearest to `2^24 e^(-i / GRID)`, down to the first zero."""
    count = math.ceil(GRID * math.log(2**25)) + 1
    # None is near a half: any machine's `exp` rounds to the same numbers.
    return np.rint(2.0**24 * np.exp(-np.arange(count) / GRID))


def _counts(snapped):
    table = _exponentials()
    below = snapped.max(axis=-1, keepdims=True) - snapped
    np.minimum(below, len(table) - 1, out=below)
    return frequencies(table[below.astype("int32")])

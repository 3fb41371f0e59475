"""The context model of one level: from codes to whole-number frequencies."""

import functools
import math

import numpy as np

from keras_vqvae2.codec.context_window import pad_codes
from keras_vqvae2.codec.range_coder import frequencies

# Logits are snapped to a grid of 1 / GRID, whose boundaries lie where no sum of
# a few rounded weights does.
GRID = 256
OFFSET = 0.3
# Below, float64 is more exact than `MARGIN` of the context model.
_MAX_SCALED = 65536 * GRID
# Codes that go through a product together, where they are known: enough for it
# not to wait for the weights.
_TOGETHER = 256


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
        # In units of the grid.
        self._output = (
            arrays["output/kernel"] * GRID,
            arrays["output/bias"] * GRID + OFFSET,
        )

    def scan(self, shape, coarser, choose, snap, known=None):
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
            known: Integer array of this shape, the codes that `choose` will
                return, where they are known beforehand: faster.

        Returns:
            int32 array of this shape.
        """
        height, width = shape
        window = self.window
        codes = np.full(shape, self.num_embeddings) if known is None else known
        padded, radius = pad_codes(
            codes.astype("int32"), window.neighbors, self.num_embeddings
        )

        def waves():
            # Not a list: of a large map it would be larger than the image.
            some = _waves(shape, window.slope)
            return some if known is None else _join(some)

        stride = padded.shape[1]
        flat = padded.reshape(-1)
        steps = np.array([dy * stride + dx for dy, dx in window.neighbors])
        first_layer = _FirstLayer(self, coarser, waves())
        for rows, columns in waves():
            places = (rows + radius) * stride + columns + radius
            x = first_layer(rows, columns)
            part = np.empty_like(x)
            for table, step in zip(self._tables, steps, strict=True):
                _take(table, flat[places + step], part)
                x += part
            scaled = self._scaled_logits(x)
            if not -_MAX_SCALED < scaled.min() <= scaled.max() < _MAX_SCALED:
                raise ValueError(
                    "the context model's logits are too large to be exact"
                )
            counts = _counts(snap(scaled, rows, columns))
            flat[places] = choose(rows, columns, counts)
        return padded[radius : radius + height, radius : radius + width].copy()

    def _scaled_logits(self, x):
        np.maximum(x, 0, out=x)
        for kernel, bias in self._layers:
            x = x @ kernel
            x += bias
            np.maximum(x, 0, out=x)
        kernel, bias = self._output
        x = x @ kernel
        x += bias
        return x

    def _coarse_part(self, near):
        """What the coarser codes add to the first layer.

        Args:
            near: Integer array `(N, (2 r + 1)^2)`, the codes that are seen
                from N places of the coarser map.

        Returns:
            Array `(N, ratio^2, hidden)`, for the places that each covers.
        """
        x = np.empty((len(near), len(self._coarse_bias)))
        x[:] = self._coarse_bias
        part = np.empty_like(x)
        for table, codes in zip(self._coarse_tables, near.T, strict=True):
            _take(table, codes, part)
            x += part
        np.maximum(x, 0, out=x)
        x = (x @ self._coarse_output).reshape(len(x), *self._bias.shape)
        x += self._bias
        return x


class _FirstLayer:
    """What does not depend on the neighbours, for a wave at a time.

    The coarser map is gone through in waves of its own, a little ahead: of
    its parts, which are large, only those of a few waves are there at a time.
    """

    def __init__(self, level, coarser, waves):
        self.level = level
        self.coarser = coarser
        if coarser is None:
            return
        window = level.window
        outside = len(level._coarse_tables[0]) - 1
        padded, radius = pad_codes(coarser, window.coarse, outside)
        self.stride = padded.shape[1]
        self.flat = padded.reshape(-1)
        self.origin = radius * self.stride + radius
        self.steps = np.array(
            [dy * self.stride + dx for dy, dx in window.coarse]
        )
        self.waves = list(_waves(coarser.shape, window.slope, empty=True))
        # Waves of the coarser map that go through its products together, and
        # those that one of `waves` reaches across.
        largest = max(len(rows) for rows, _ in self.waves)
        self.together = -(-_TOGETHER // largest)
        reach = max(np.ptp(self._wave(*wave, 1)) for wave in waves)
        reach += (window.ratio - 1) * (1 + window.slope)
        num_waves = reach // window.ratio + 2 + self.together
        self.parts = np.empty(
            (num_waves, len(coarser), *level._bias.shape), "float64"
        )
        self.done = 0

    def _wave(self, rows, columns, ratio):
        return columns // ratio + self.level.window.slope * (rows // ratio)

    def __call__(self, rows, columns):
        if self.coarser is None:
            return np.repeat(self.level._bias, len(rows), axis=0)
        ratio = self.level.window.ratio
        waves = self._wave(rows, columns, ratio)
        while self.done <= waves.max():
            some = self.waves[self.done : self.done + self.together]
            self.done += len(some)
            self._add(*_concatenated(some))
        places = rows % ratio * ratio + columns % ratio
        return self.parts[waves % len(self.parts), rows // ratio, places]

    def _add(self, rows, columns):
        """Computes the parts of some places of the coarser map."""
        places = self.origin + rows * self.stride + columns
        near = self.flat[places[:, None] + self.steps]
        waves = self._wave(rows, columns, 1)
        self.parts[waves % len(self.parts), rows] = self.level._coarse_part(
            near
        )


def _waves(shape, slope, empty=False):
    """Yields `(rows, columns)` of the places with each `column + slope * row`.

    Some are empty if the map is narrow; they are left out unless `empty`.
    """
    height, width = shape
    for wave in range(width + slope * (height - 1)):
        first = max(0, -(-(wave - width + 1) // slope))
        rows = np.arange(first, min(height - 1, wave // slope) + 1)
        if empty or len(rows):
            yield rows, wave - slope * rows


def _join(waves):
    """Yields the same places in the same order, more of them together."""
    some, count = [], 0
    for wave in waves:
        some.append(wave)
        count += len(wave[0])
        if count >= _TOGETHER:
            yield _concatenated(some)
            some, count = [], 0
    if some:
        yield _concatenated(some)


def _concatenated(waves):
    return tuple(np.concatenate(side) for side in zip(*waves, strict=True))


def _tables(embeddings, kernel):
    """`embeddings @ kernel_i` for each i: `(offsets, codes, hidden)`."""
    return np.stack([embeddings @ part for part in kernel])


def _take(table, indices, out):
    # NumPy's fastest way: without a check, straight into place.
    table.take(indices, 0, out, "clip")


@functools.cache
def _exponentials():
    """Whole numbers nearest to `2^24 e^(-i / GRID)`, down to the first zero."""
    count = math.ceil(GRID * math.log(2**25)) + 1
    # None is near a half: any machine's `exp` rounds to the same numbers.
    return np.rint(2.0**24 * np.exp(-np.arange(count) / GRID))


def _counts(snapped):
    below = snapped.max(axis=-1, keepdims=True) - snapped
    weights = np.empty_like(below)
    # The last one is zero, as are all beyond.
    _take(_exponentials(), below.astype("int32"), weights)
    return frequencies(weights)

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
        waves = _waves(shape, window.slope)
        if known is not None:
            waves = _join(waves)
        stride = padded.shape[1]
        flat = padded.reshape(-1)
        steps = np.array([dy * stride + dx for dy, dx in window.neighbors])
        first_layer = _FirstLayer(self, shape, coarser, waves)
        for rows, columns in waves:
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

    def _coarse_rows(self, padded, radius, first, last):
        """What some rows of the coarser map add to the first layer.

        Array `((last - first) * ratio, width * ratio, hidden)`, for the rows
        that they cover.
        """
        height, width = last - first, padded.shape[1] - 2 * radius
        x = np.empty((height, width, len(self._coarse_bias)))
        x[:] = self._coarse_bias
        part = np.empty_like(x)
        for (dy, dx), table in zip(
            self.window.coarse, self._coarse_tables, strict=True
        ):
            top, left = first + radius + dy, radius + dx
            codes = padded[top : top + height, left : left + width]
            _take(table, codes, part)
            x += part
        np.maximum(x, 0, out=x)
        ratio = self.window.ratio
        x = x.reshape(-1, x.shape[-1]) @ self._coarse_output
        x = x.reshape(height, width, ratio, ratio, -1)
        x += self._bias.reshape(ratio, ratio, -1)
        return x.swapaxes(1, 2).reshape(height * ratio, width * ratio, -1)


class _FirstLayer:
    """What does not depend on the neighbours, for some rows at a time."""

    def __init__(self, level, shape, coarser, waves):
        self.level = level
        self.coarser = coarser
        if coarser is None:
            return
        window = level.window
        outside = len(level._coarse_tables[0]) - 1
        self.padded, self.radius = pad_codes(coarser, window.coarse, outside)
        # Rows of the coarser map that go through its products together.
        self.step = -(-_TOGETHER // coarser.shape[1])
        step = self.step * window.ratio
        # Rows that are visited together, and those that come along.
        num_rows = max(np.ptp(rows) for rows, _ in waves) + 1 + 2 * step
        num_rows = -(-num_rows // step) * step
        self.rows = np.empty((num_rows, shape[1], level._bias.shape[1]))
        self.done = 0

    def __call__(self, rows, columns):
        if self.coarser is None:
            return np.repeat(self.level._bias, len(rows), axis=0)
        ratio = self.level.window.ratio
        while self.done <= rows.max():
            first = self.done // ratio
            last = min(first + self.step, len(self.coarser))
            start = self.done % len(self.rows)
            self.done = last * ratio
            end = start + (last - first) * ratio
            self.rows[start:end] = self.level._coarse_rows(
                self.padded, self.radius, first, last
            )
        return self.rows[rows % len(self.rows), columns]


def _waves(shape, slope):
    """Pairs `(rows, columns)` of the places that are visited together."""
    height, width = shape
    waves = []
    for wave in range(width + slope * (height - 1)):
        first = max(0, -(-(wave - width + 1) // slope))
        rows = np.arange(first, min(height - 1, wave // slope) + 1)
        if len(rows):
            waves.append((rows, wave - slope * rows))
    return waves


def _join(waves):
    """The same places in the same order, more of them together."""
    joined = []
    start = count = 0
    for i, (rows, _) in enumerate(waves):
        count += len(rows)
        if count >= _TOGETHER or i == len(waves) - 1:
            joined.append(
                tuple(
                    np.concatenate(side)
                    for side in zip(*waves[start : i + 1], strict=True)
                )
            )
            start, count = i + 1, 0
    return joined


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

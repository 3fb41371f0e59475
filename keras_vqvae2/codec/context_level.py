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

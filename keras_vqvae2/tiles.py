"""Large images in overlapping tiles, with the same results as the whole."""

import itertools
import logging
from operator import mul

import keras
import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.images import batches_of

# Pixels that go through a network at a time, at 0.2 kB each.
MAX_PIXELS = 2**22
# Sides of tiles, in pixels and in radii: the margins are computed in vain.
_SIDE = 1152
_SIDE_IN_RADII = 5

_logger = logging.getLogger(__name__)


class Tiling:
    """The tiles of an autoencoder.

    Every code, and every decoded pixel, depends on what is within a finite
    radius. Tiles that overlap by this radius, of which the margins are thrown
    away, give the same results as the whole image.

    Args:
        strides: Strides of the levels, finest first.
        num_residual_blocks: Residual blocks of each encoder and decoder.
    """

    def __init__(self, strides, num_residual_blocks):
        scales = [1, *itertools.accumulate(strides, mul)]
        # Codes and pixels in the square that a code of the coarsest map
        # covers, along one side.
        self.image_unit = scales[-1]
        self.code_units = tuple(
            scales[-1] // scale for scale in reversed(scales[1:])
        )
        # Pixels that an encoder or decoder of a level reaches to each side:
        # 3x3 convolutions at its own scale, and convolutions of width 4 at
        # the finer ones.
        reach = [
            2 * (coarse - fine) + (1 + num_residual_blocks) * coarse
            for fine, coarse in itertools.pairwise(scales)
        ]
        # All encoders, and the decoders of all coarser levels, come before
        # the finest codes.
        self.encoder_radius = sum(reach) + sum(reach[1:])
        # The upsampling of coarser codes, and the last decoder.
        self.decoder_radius = reach[0] + 2 * (scales[-1] - scales[1])

    def encode(self, function, images, batch_size, coarser=None):
        """Applies an encoder.

        Args:
            function: Function of tensors: images, and the maps of `coarser` if
                it is given. It returns a tuple of one map of each level, or
                of the level that follows on `coarser`.
            images: Array `(batch, height, width, channels)`.
            batch_size: Images at a time, fewer if they are large.
            coarser: Code maps of the coarsest levels, or None.

        Returns:
            Tuple of arrays, coarse to fine.
        """
        outputs = self.code_units
        if coarser is not None:
            outputs = outputs[len(coarser) : len(coarser) + 1]
        coarser = coarser or ()
        units = (self.image_unit, *self.code_units[: len(coarser)])
        return self._map(
            function,
            (images, *coarser),
            units,
            outputs,
            self.encoder_radius,
            batch_size,
            "Encoded",
        )

    def decode(self, function, codes, batch_size):
        """Applies a decoder.

        Args:
            function: Function of tensors, code maps, that returns images.
            codes: Code maps of the coarsest levels or of all.
            batch_size: Images at a time, fewer if they are large.

        Returns:
            Array `(batch, height, width, channels)`.
        """
        (images,) = self._map(
            lambda *codes: (function(*codes),),
            codes,
            self.code_units[: len(codes)],
            (self.image_unit,),
            self.decoder_radius,
            batch_size,
            "Decoded",
        )
        return images

    def _map(
        self, function, arrays, units, output_units, radius, batch_size, name
    ):
        height, width = (side // units[0] for side in arrays[0].shape[1:3])
        pixels = height * width * self.image_unit**2
        check_integer("batch_size", batch_size)
        batch_size = min(batch_size, max(1, MAX_PIXELS // pixels))

        # JAX would compile a smaller last batch by itself, for seconds.
        pads = keras.backend.backend() == "jax" and len(arrays[0]) > batch_size

        def on_arrays(*arrays):
            number = len(arrays[0])
            if pads and number < batch_size:
                index = np.arange(batch_size).clip(max=number - 1)
                arrays = [ops.convert_to_numpy(x)[index] for x in arrays]
            results = function(*map(ops.convert_to_tensor, arrays))
            return tuple(ops.convert_to_numpy(x)[:number] for x in results)

        margin = -(-radius // self.image_unit)
        side = max(-(-_SIDE // self.image_unit), _SIDE_IN_RADII * margin)
        results = []
        for parts in zip(
            *(batches_of(array, batch_size) for array in arrays), strict=True
        ):
            if pixels <= MAX_PIXELS:
                results.append(on_arrays(*parts))
            else:
                spans = [_spans(size, side, margin) for size in (height, width)]
                results.append(
                    _map_tiles(
                        on_arrays, parts, units, output_units, spans, name
                    )
                )
        if len(results) == 1:
            return results[0]
        return tuple(
            np.concatenate(maps) for maps in zip(*results, strict=True)
        )


def _map_tiles(function, arrays, units, output_units, spans, name):
    height, width = (axis[-1][-1] for axis in spans)
    outputs = None
    for top, bottom, *rows in spans[0]:
        for left, right, *columns in spans[1]:
            parts = function(
                *(
                    array[:, _cut(top, bottom, unit), _cut(left, right, unit)]
                    for array, unit in zip(arrays, units, strict=True)
                )
            )
            if outputs is None:
                outputs = tuple(
                    np.empty(
                        (len(part), height * unit, width * unit)
                        + part.shape[3:],
                        part.dtype,
                    )
                    for part, unit in zip(parts, output_units, strict=True)
                )
            inner_rows = [row - top for row in rows]
            inner_columns = [column - left for column in columns]
            for output, part, unit in zip(
                outputs, parts, output_units, strict=True
            ):
                output[:, _cut(*rows, unit), _cut(*columns, unit)] = part[
                    :, _cut(*inner_rows, unit), _cut(*inner_columns, unit)
                ]
        _logger.info("%s %d%% of an image", name, 100 * rows[1] // height)
    return outputs


def _spans(size, side, margin):
    """`(start, stop, first, last)` of tiles along one axis.

    A tile spans `start` to `stop`; from `first` to `last` its results count.
    All have the same size: compiled functions have one shape to know.
    """
    side = min(side, size)
    spans = []
    done = 0
    while done < size:
        start = min(max(done - margin, 0), size - side)
        stop = start + side
        last = size if stop == size else stop - margin
        spans.append((start, stop, done, last))
        done = last
    return spans


def _cut(start, stop, unit):
    return slice(start * unit, stop * unit)

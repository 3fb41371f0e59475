"""`compress` and `decompress` of a model: images to code files and back."""

import functools
import numbers
import os
import reprlib

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.code_search import check_search
from keras_vqvae2.codec import CodeModel
from keras_vqvae2.codec import CodePool
from keras_vqvae2.codec import read_codes
from keras_vqvae2.codec import write_codes
from keras_vqvae2.codec.rate_distortion import cheapest_codes
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.images import batches_of
from keras_vqvae2.images import pad_to_multiple
from keras_vqvae2.models._inputs import check_image_shape
from keras_vqvae2.models._inputs import check_pixel_values
from keras_vqvae2.tiles import MAX_PIXELS
from keras_vqvae2.weights import weight_arrays


class CompressMixin:
    """Code files of a model.

    A class with it has the attributes `vqvae`, `name` and `_context`, a dict
    `_vectors`, a `Tiling` in `_tiling`, and the methods `_encode_batches` and
    `decode`.
    """

    @property
    def context(self):
        """The `codec.ContextModel` of code files, or None."""
        if callable(self._context):
            self._context = self._context()
        return self._context

    def code_model(self):
        """The `codec.CodeModel` of the weights as they are now."""
        return CodeModel(
            self.name if is_name(self.name) else "model",
            self.vqvae.strides,
            self.vqvae.num_embeddings,
            identifying_arrays(self.vqvae),
            self.context,
            self.revision,
        )

    def compress(
        self,
        images,
        method=None,
        rate_weight=0.0,
        batch_size=8,
        num_workers=1,
        search_steps=0,
    ):
        """Code files of images of any size.

        Lossy: `decompress` gives the pixels that `reconstruct` gives.

        Args:
            images: uint8 or float array `(batch, height, width, channels)`,
                pixel values 0..255, or an iterable of images `(height, width,
                channels)` of different sizes.
            method: As for `codec.write_codes`; None takes the smallest.
            rate_weight: As for `encode`.
            batch_size: Neighbouring images of one size at a time, fewer if
                they are large.
            num_workers: Processes that write the files, as for
                `codec.CodePool`.
            search_steps: As for `encode`; then `decompress` gives an image
                that is nearer than that of `reconstruct`.

        Returns:
            List of bytes, a code file for each image.

        Raises:
            ValueError: If shape or values of the images do not fit, or the
                model has nothing for this method or a `rate_weight`, or images
                are too large for `search_steps`.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-imagenet256")
        image = np.zeros((300, 200, 3), "uint8")
        (data,) = model.compress([image])
        (decoded,) = model.decompress([data])
        assert decoded.shape == image.shape and len(data) < image.size // 40
        ```
        """
        return list(
            self.iterate_compress(
                images,
                method,
                rate_weight,
                batch_size,
                num_workers,
                search_steps,
            )
        )

    def iterate_compress(
        self,
        images,
        method=None,
        rate_weight=0.0,
        batch_size=8,
        num_workers=1,
        search_steps=0,
    ):
        """As `compress`, one file after another: `images` may be endless."""
        check_rate_weight(rate_weight)
        check_search(search_steps, rate_weight)
        code_model = self.code_model()

        def arguments(pool):
            for batch in _same_size(images, batch_size):
                check_image_shape(batch.shape, self.vqvae.num_channels)
                check_pixel_values(batch)
                check_search(search_steps, rate_weight, batch.shape)
                padded = pad_to_multiple(batch, self.vqvae.total_stride)
                if rate_weight:
                    codes = self._encode_cheaply(padded, rate_weight, pool)
                else:
                    codes = self._encode_batches(
                        padded, batch_size, search_steps
                    )
                image_size = batch.shape[1:3]
                # They may be as large as all else.
                del batch, padded
                for maps in zip(*codes, strict=True):
                    yield maps, image_size

        write = functools.partial(write_codes, method=method)
        with CodePool(code_model, num_workers) as pool:
            yield from pool.map(write, arguments(pool))

    def _encode_cheaply(self, images, rate_weight, pool):
        """Codes of a batch for `rate_weight`."""
        codes = ()
        for level, quantizer in enumerate(self.vqvae.quantizers):
            if level not in self._vectors:
                self._vectors[level] = compile_function(
                    self.vqvae,
                    lambda images, *codes: (self.vqvae.vectors(images, codes),),
                )
            (vectors,) = self._tiling.encode(
                self._vectors[level], images, len(images), codes
            )
            codebook = ops.convert_to_numpy(quantizer.codebook)
            arguments = (
                (image_vectors, codebook, coarser, rate_weight)
                for image_vectors, *coarser in zip(vectors, *codes, strict=True)
            )
            cheapest = list(pool.map(cheapest_codes, arguments))
            codes = (*codes, np.stack(cheapest))
        return codes

    def decompress(self, files, levels=None, num_workers=1):
        """Images of code files.

        Args:
            files: Iterable of bytes or paths of code files.
            levels: As for `decode`.
            num_workers: Processes that read the codes, as for
                `codec.CodePool`.

        Returns:
            List of uint8 arrays `(height, width, channels)`.

        Raises:
            ValueError: If a file is damaged, or was made by another model.
        """
        return list(self.iterate_decompress(files, levels, num_workers))

    def iterate_decompress(self, files, levels=None, num_workers=1):
        """As `decompress`, one image after another."""
        if isinstance(files, (bytes, str, os.PathLike)):
            raise TypeError(
                "`files` must be several files, for example `[file]`. "
                f"Received: {type(files).__name__}"
            )
        with CodePool(self.code_model(), num_workers) as pool:
            for codes, header in pool.map(
                read_codes, ((file,) for file in files)
            ):
                image = self.decode([level[None] for level in codes], levels)
                height, width = header.image_size
                yield image[0, :height, :width]


def identifying_arrays(vqvae):
    """Dict of the arrays that tell an autoencoder from all others."""
    arrays = weight_arrays(vqvae)
    if vqvae.skip_relu:
        # With it, the same weights make another model.
        arrays["skip_relu"] = np.ones((), "uint8")
    return arrays


def check_rate_weight(rate_weight):
    """Raises ValueError unless it is a number in 0..1e6."""
    if not isinstance(rate_weight, numbers.Real) or not (
        0 <= rate_weight <= 1e6
    ):
        raise ValueError(
            "`rate_weight` must be a number in 0..1e6. Received: "
            f"{reprlib.repr(rate_weight)}"
        )


def _same_size(images, batch_size):
    """Batches of neighbouring images of one size."""
    if hasattr(images, "ndim"):
        yield from batches_of(ops.convert_to_numpy(images), batch_size)
        return
    check_integer("batch_size", batch_size)
    if not hasattr(images, "__iter__"):
        raise TypeError(
            "`images` must be an array or an iterable of images. Received a "
            f"{type(images).__name__}."
        )
    batch = []
    for image in map(np.asarray, images):
        if batch and image.shape != batch[0].shape:
            yield _take_all(batch)
        batch.append(image)
        is_full = (
            len(batch) == batch_size
            or image.size * len(batch) >= 3 * MAX_PIXELS
        )
        # A large image is nobody's once it has been encoded.
        del image
        if is_full:
            yield _take_all(batch)
    if batch:
        yield _take_all(batch)


def _take_all(batch):
    """The images as an array; a single one is not copied."""
    images = np.stack(batch) if len(batch) > 1 else batch[0][None]
    batch.clear()
    return images

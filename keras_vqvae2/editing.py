"""`inpaint` and `vary` of a model: images of which some codes are redrawn."""

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.models._inputs import check_image_shape
from keras_vqvae2.models._inputs import check_pixel_values
from keras_vqvae2.models._inputs import to_array
from keras_vqvae2.sampling.generate import MAX_IMAGES
from keras_vqvae2.sampling.generate import check_labels
from keras_vqvae2.sampling.generate import generate_codes

# Variant j of image k has the id k + j * 2**32: variant 0 does not depend on
# how many there are.
_VARIANT = 2**32
_MAX_VARIANTS = 2**15


class EditMixin:
    """Images of a model with parts that are drawn anew.

    A class with it has the attribute `vqvae`, the methods `encode` and
    `decode`, and those of `GenerateMixin`.
    """

    def inpaint(
        self,
        images,
        mask,
        labels=None,
        *,
        num_variants=1,
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        seed=0,
        num_candidates=8,
        batch_size=16,
        verbose=0,
    ):
        """Images with what lies under a mask drawn anew.

        Codes whose cell touches the mask are drawn by the priors, level by
        level, the others are kept. A prior draws a code from the codes before
        it, in raster order, the coarser maps and the class. Codes after it,
        right of the hole and below, are kept, but what is drawn does not
        follow from them: with `num_candidates=1` not at all. With more, those
        candidates go on to which the kept codes of their level fit: the more,
        the closer to the priors' distribution given all kept codes of the
        level (see `sampling.Candidates`).

        Pixels far from the hole are those of `images`. A decoded pixel
        depends on codes around it, so that a cut at the edge of the hole would
        be seen: over the next `vqvae.total_stride` pixels around the cells
        that were drawn, the decoded image is blended into the original.

        Codes near the hole were encoded from images with what is under the
        mask. To remove something, mask a few pixels more than it covers.

        Args:
            images: uint8 or float array `(batch, height, width, channels)`,
                pixel values 0..255, of the size that the priors are of.
            mask: Bool array `(height, width)` or `(batch, height, width)`,
                True where to draw anew.
            labels: Class of each image, integers `(batch,)` or names, for a
                model that has classes; None for no class.
            num_variants: Images that are made of each. Variant j of image k
                depends on the seed, j, k, the image and its label alone.
            temperature: As for `generate`.
            top_k: As for `generate`.
            top_p: As for `generate`.
            guidance_scale: As for `generate`.
            seed: As for `generate`.
            num_candidates: Candidates for each variant: the work is as many
                times that of one.
            batch_size: Variants and candidates at a time.
            verbose: As for `generate`.

        Returns:
            uint8 array `(batch, num_variants, height, width, channels)`.

        Raises:
            ValueError: If a prior is missing, or an argument does not fit.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-cifar10")
        images = np.zeros((1, 32, 32, 3), "uint8")
        mask = np.zeros((32, 32), bool)
        mask[28:, 28:] = True
        variants = model.inpaint(images, mask, num_candidates=1)
        assert variants.shape == (1, 1, 32, 32, 3)
        assert (variants[0, :, :24] == images[:, :24]).all()
        ```
        """
        images = check_edited(images, self.vqvae)
        labels = self.label_numbers(labels)
        masks = _check_mask(mask, images)
        names = self.vqvae.level_names
        options = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "guidance_scale": guidance_scale,
        }
        first = self._load_first(names[0], images, labels, options)
        height, width = images.shape[1:3]
        codes = self.encode(images, batch_size=batch_size)
        forced = []
        drawn = np.zeros_like(masks)
        for level in codes:
            rows, columns = level.shape[1:]
            cells = masks.reshape(
                len(masks), rows, height // rows, columns, width // columns
            ).any(axis=(2, 4))
            forced.append(np.where(cells, -1, level))
            drawn |= cells.repeat(height // rows, 1).repeat(width // columns, 2)
        decoded = self._draw_variants(
            first,
            options,
            labels,
            num_variants,
            len(images),
            forced=forced,
            seed=seed,
            num_candidates=num_candidates,
            batch_size=batch_size,
            verbose=verbose,
        )
        weights = _feathered(drawn, self.vqvae.total_stride)
        weights = weights[:, None, :, :, None]
        images = images[:, None]
        blended = images + weights * (decoded - images.astype("float32"))
        return np.rint(blended).astype("uint8")

    def vary(
        self,
        images,
        levels=1,
        labels=None,
        *,
        num_variants=1,
        temperature=1.0,
        top_k=None,
        top_p=None,
        guidance_scale=1.0,
        seed=0,
        batch_size=16,
        verbose=0,
    ):
        """Images that share the coarsest code maps of given ones.

        With `levels=1` the layout stays and the details are drawn anew; more
        levels keep more.

        Args:
            images: As for `inpaint`.
            levels: Number of the coarsest maps that are kept, from 1 to one
                less than there are.
            labels: As for `inpaint`.
            num_variants: As for `inpaint`.
            temperature: As for `generate`.
            top_k: As for `generate`.
            top_p: As for `generate`.
            guidance_scale: As for `generate`.
            seed: As for `generate`.
            batch_size: Variants at a time.
            verbose: As for `generate`.

        Returns:
            uint8 array `(batch, num_variants, height, width, channels)`.

        Raises:
            ValueError: If a prior is missing, or an argument does not fit.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-cifar10")
        images = np.zeros((1, 32, 32, 3), "uint8")
        assert model.vary(images, labels=[3]).shape == (1, 1, 32, 32, 3)
        ```
        """
        images = check_edited(images, self.vqvae)
        labels = self.label_numbers(labels)
        names = self.vqvae.level_names
        if len(names) < 2:
            raise ValueError(
                "This model has one level: nothing would be kept. Use "
                "`inpaint` or `generate`."
            )
        levels = check_integer("levels", levels, maximum=len(names) - 1)
        options = {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "guidance_scale": guidance_scale,
        }
        first = self._load_first(names[levels], images, labels, options)
        codes = self.encode(images, batch_size=batch_size)
        return self._draw_variants(
            first,
            options,
            labels,
            num_variants,
            len(images),
            codes=codes[:levels],
            seed=seed,
            batch_size=batch_size,
            verbose=verbose,
        )

    def _load_first(self, level, images, labels, options):
        """The sampler of the first level to draw: images fit, or an error."""
        names = self.vqvae.level_names
        for name in names[names.index(level) :]:
            self._check_prior(name)
        sampler = self.load_sampler(level, **options)
        check_image_size(self.vqvae, level, sampler.prior, images)
        check_label_count(labels, images)
        return level, sampler

    def _draw_variants(
        self,
        first,
        options,
        labels,
        num_variants,
        count,
        *,
        batch_size,
        codes=(),
        forced=None,
        **sampling,
    ):
        check_integer(
            "num_variants",
            num_variants,
            maximum=min(_MAX_VARIANTS, MAX_IMAGES // count),
        )
        loaded = dict([first])

        def load_sampler(level):
            # Loaded once, though a prior that is not kept is let go then.
            return loaded.pop(level, None) or self.load_sampler(
                level, **options
            )

        def repeated(maps):
            return [np.repeat(x, num_variants, axis=0) for x in maps]

        ids = np.arange(count)[:, None] + np.arange(num_variants) * _VARIANT
        total = count * num_variants
        drawn = generate_codes(
            self.vqvae.level_names,
            load_sampler,
            total,
            None if labels is None else np.repeat(labels, num_variants),
            codes=repeated(codes),
            image_ids=ids.reshape(-1),
            forced=None if forced is None else repeated(forced),
            batch_size=batch_size,
            **sampling,
        )
        if len(drawn[0]) < total:  # Ctrl-C
            raise KeyboardInterrupt
        decoded = self.decode(drawn, batch_size=batch_size)
        return decoded.reshape(count, num_variants, *decoded.shape[1:])


def check_image_size(vqvae, level, prior, images):
    """Raises ValueError unless images have the size that a prior is of."""
    names = vqvae.level_names
    stride = np.prod(vqvae.strides[: len(names) - names.index(level)])
    height, width = (int(side * stride) for side in prior.code_shapes[-1])
    if tuple(images.shape[1:3]) != (height, width):
        raise ValueError(
            f"The priors of this model are of images of {width}x{height} "
            f"pixels. Received {images.shape[2]}x{images.shape[1]}: crop or "
            "resize them."
        )


def check_label_count(labels, images):
    """Labels as an array; raises ValueError unless None or one an image."""
    labels = check_labels(labels)
    if labels is not None and len(labels) != len(images):
        raise ValueError(
            f"There must be one label for each image. Received {len(labels)} "
            f"for {len(images)}."
        )
    return labels


def check_edited(images, vqvae):
    """Images as an array; raises ValueError unless they fit a model."""
    images = to_array(images, "images")
    check_image_shape(images.shape, vqvae.num_channels)
    check_pixel_values(images)
    return ops.convert_to_numpy(images)


def _check_mask(mask, images):
    """Masks `(batch, height, width)`."""
    mask = np.asarray(to_array(mask, "mask"))
    if mask.dtype != bool:
        raise ValueError(
            "`mask` must be bool, True where to draw anew: pass `mask > 127` "
            f"of a mask in 0..255. Received: {mask.dtype}"
        )
    size = images.shape[1:3]
    if mask.shape not in (size, (len(images), *size)):
        raise ValueError(
            f"`mask` must have shape {size} or {(len(images), *size)}, as the "
            f"images. Received: {mask.shape}"
        )
    if not mask.any():
        raise ValueError("`mask` is False everywhere: nothing to draw anew.")
    return np.broadcast_to(mask, (len(images), *size))


def _feathered(masks, width):
    """1 in a mask, falling to 0 over `width` pixels around it."""
    total, grown = masks.astype("float32"), masks
    for _ in range(width - 1):
        padded = np.pad(grown, ((0, 0), (1, 1), (1, 1)))
        grown = np.lib.stride_tricks.sliding_window_view(
            padded, (3, 3), axis=(1, 2)
        ).any(axis=(3, 4))
        total += grown
    return total / width

import typing


class Surprise(typing.NamedTuple):
    """How unlikely images are under a model's priors, as `VQVAE2.surprise`.

    Args:
        maps: Tuple of float32 arrays `(batch, height, width)`, one for each
            level, coarse to fine, at the images' size: the bits of the code
            that covers each pixel, -log2 of its probability given the codes
            before it.
        excess_maps: As `maps`: the bits minus the bits that the prior
            expected there, the entropy of its distribution. Above 0 where the
            image surprises, however busy it is.
        scores: float32 array `(batch,)`: bits of all codes of an image, per
            pixel. Smooth images have few whatever they show.
        excess_scores: float32 array `(batch,)`: excess bits of all codes of an
            image, per pixel; 0 on average for images that the priors describe
            perfectly.
    """

    maps: tuple
    excess_maps: tuple
    scores: typing.Any
    excess_scores: typing.Any

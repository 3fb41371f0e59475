"""Codes of new images, level by level (algorithm 2)."""

import functools

import keras
import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.models._inputs import to_array
from keras_vqvae2.sampling.candidates import Candidates
from keras_vqvae2.sampling.draws import uniform_draws

# They come as one array; another seed gives others.
MAX_IMAGES = 2**20
MAX_SEED = 2**63 - 1
MAX_CANDIDATES = 2**10
# Candidate j of the image with the id k has the id k + j * 2**48.
_CANDIDATE = 2**48


def generate_codes(
    level_names,
    load_sampler,
    num_images=None,
    labels=None,
    *,
    codes=(),
    seed=0,
    batch_size=16,
    verbose=0,
    on_row=None,
    image_ids=None,
    forced=None,
    num_candidates=1,
):
    """Codes of new images.

    Args:
        level_names: Names of all levels, coarse to fine.
        load_sampler: Function from a level's name to its `CachedSampler`,
            called when the level's turn comes.
        num_images: As for `VQVAE2.generate`.
        labels: As for `VQVAE2.generate`.
        codes: As for `VQVAE2.generate`.
        seed: As for `VQVAE2.generate`.
        batch_size: As for `VQVAE2.generate`.
        verbose: As for `VQVAE2.generate`.
        on_row: As for `VQVAE2.generate`.
        image_ids: Integers `(num_images,)` that fix the draws of the images,
            or None for 0, 1, 2, ...
        forced: For each level an integer array `(num_images, height_i,
            width_i)`: codes to take instead of drawing, where not negative;
            or None.
        num_candidates: Candidates for each image, with `forced`; see
            `Candidates`.

    Returns:
        Tuple of int32 arrays `(num_images, height_i, width_i)`, coarse to
        fine. After Ctrl-C in the finest level, those of the images whose codes
        are complete.

    Raises:
        ValueError: If an argument does not fit.
        KeyboardInterrupt: After Ctrl-C, if no image is complete.
    """
    codes = [np.asarray(to_array(level, "codes")) for level in codes]
    labels = check_labels(labels)
    num_images = count_images(num_images, labels, codes)
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, minimum=0, maximum=MAX_SEED)
    check_integer("num_candidates", num_candidates, maximum=MAX_CANDIDATES)
    if image_ids is None:
        image_ids = np.arange(num_images)
    for level in range(len(codes), len(level_names)):
        sampler = load_sampler(level_names[level])
        prior = sampler.prior
        check_fit(prior, labels, codes)
        if labels is None and sampler.guidance_scale != 1.0:
            raise ValueError("`guidance_scale` needs `labels`.")
        if prior.num_classes is None:
            level_labels = None
        elif labels is None:
            level_labels = np.full((num_images,), prior.num_classes)
        else:
            level_labels = labels
        if verbose:
            print(f"Sampling the codes of the {level_names[level]} level")
        batches = []
        try:
            for batch in _draw_level(
                sampler,
                codes,
                level_labels,
                np.asarray(image_ids),
                batch_size,
                seed,
                verbose,
                on_row and functools.partial(on_row, level_names[level]),
                None if forced is None else forced[level],
                num_candidates,
            ):
                batches.append(batch)
        except KeyboardInterrupt:
            if level < len(level_names) - 1 or not batches:
                raise
        drawn = np.concatenate(batches)
        codes = [*(x[: len(drawn)] for x in codes), drawn]
    return tuple(codes)


def count_images(num_images, labels, codes=()):
    """The number of images that arguments of `VQVAE2.generate` name.

    Raises:
        ValueError: If they do not name one number, or more than `MAX_IMAGES`.
    """
    given = {len(x) for x in (labels, *codes) if x is not None}
    if num_images is not None:
        given.add(check_integer("num_images", num_images, maximum=MAX_IMAGES))
    if len(given) != 1:
        raise ValueError(
            "`num_images`, `labels` and `codes` must say one number of "
            f"images. They say: {sorted(given) or 'none'}"
        )
    return check_integer("num_images", given.pop(), maximum=MAX_IMAGES)


def _draw_level(
    sampler,
    codes,
    labels,
    image_ids,
    batch_size,
    seed,
    verbose,
    on_row,
    forced,
    num_candidates,
):
    """Batches of a level's codes; `codes` are the coarser levels'."""
    size = height, _ = sampler.prior.code_shapes[-1]
    level, num_images = len(codes), len(image_ids)
    batch_size = max(1, batch_size // num_candidates)
    progress = keras.utils.Progbar(
        num_images * height, verbose=verbose, unit_name="row"
    )

    def report(done):
        progress.update(done)
        if on_row is not None:
            on_row(done, num_images * height)

    for start in range(0, num_images, batch_size):
        images = np.arange(start, min(start + batch_size, num_images))
        count = len(images)
        # A smaller last batch would be compiled by itself.
        padding = min(batch_size, num_images) - count
        padded = np.pad(images, (0, padding), mode="edge")
        candidates = None
        if num_candidates > 1:
            candidates = Candidates(
                seed, image_ids[padded], num_candidates, height, level
            )
        rows = np.repeat(padded, num_candidates)
        ids = image_ids[rows] + np.tile(
            np.arange(num_candidates) * _CANDIDATE, len(padded)
        )
        drawn, _, _ = sampler.sample(
            # Each level has its own draws.
            uniform_draws(seed, ids, size, level=level),
            [x[rows] for x in codes],
            None if labels is None else labels[rows],
            None if forced is None else forced[rows],
            on_row=lambda row, start=start, count=count: report(
                start * height + count * row
            ),
            choose=candidates,
        )
        if candidates is not None:
            drawn = drawn[candidates.final()]
        yield drawn[:count]


def check_labels(labels):
    """Labels as an array, or None; raises ValueError unless integers."""
    if labels is None:
        return None
    labels = np.asarray(to_array(labels, "labels"))
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            "`labels` must be a list of integers, one for each image. "
            f"Received: {labels!r}"
        )
    return labels


def check_fit(prior, labels, codes):
    """Raises ValueError unless labels and coarser maps fit a prior."""
    if labels is not None:
        if prior.num_classes is None:
            raise ValueError(
                "This model has no classes: leave out `labels` and pass "
                "`num_images`."
            )
        wrong = labels[(labels < 0) | (labels > prior.num_classes)]
        if len(wrong):
            raise ValueError(
                f"Labels must be in 0..{prior.num_classes - 1}, or "
                f"{prior.num_classes} for no class. Received: {wrong[0]}"
            )
    expected = prior.code_shapes[:-1]
    received = tuple(tuple(x.shape[1:]) for x in codes)
    if received != expected:
        raise ValueError(
            f"The prior is for coarser maps of the shapes {expected}. "
            f"Received: {received}"
        )
    for x in codes:
        if not np.issubdtype(x.dtype, np.integer):
            raise ValueError(f"Codes must be integers. Received: {x.dtype}")
        if x.min() < 0 or x.max() >= prior.num_embeddings:
            raise ValueError(
                f"Codes must be in 0..{prior.num_embeddings - 1}. Received: "
                f"{x.min()}..{x.max()}"
            )

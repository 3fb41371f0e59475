"""Codes of new images, level by level (algorithm 2)."""

import sys
import time

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.sampling.draws import uniform_draws


def generate_codes(
    model,
    num_images=None,
    labels=None,
    *,
    codes=(),
    temperature=1.0,
    top_k=None,
    top_p=None,
    guidance_scale=1.0,
    seed=0,
    batch_size=16,
    progress=None,
    numbers=None,
):
    """Codes of new images; arguments as for `VQVAE2.generate`.

    Args:
        numbers: Numbers of the images, which fix their draws, or None for
            0, 1, 2, ...

    Returns:
        Tuple of int32 arrays `(num_images, height_i, width_i)`, coarse to
        fine.
    """
    names = model.vqvae.level_names
    codes = [np.asarray(level) for level in codes]
    if len(codes) > len(names):
        raise ValueError(
            f"This model has {len(names)} levels. Received `codes` of "
            f"{len(codes)}."
        )
    for name in names[len(codes) :]:
        if name not in model.priors:
            model.load_prior(name)  # raises
    if labels is not None:
        labels = np.asarray(labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(
                "`labels` must be a list of integers, one for each image. "
                f"Received: {labels!r}"
            )
    number = count_images(num_images, labels, codes)
    check_integer("num_images", number)
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, minimum=0)
    numbers = np.arange(number) if numbers is None else np.asarray(numbers)
    for level in range(len(codes), len(names)):
        name = names[level]
        sampler = model.load_sampler(
            name,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            guidance_scale=guidance_scale,
        )
        prior = sampler.prior
        check_labels(prior, labels)
        check_sizes(prior, codes)
        if prior.num_classes is None:
            level_labels = None
        elif labels is None:
            level_labels = np.full((number,), prior.num_classes)
        else:
            level_labels = labels
        if labels is None and guidance_scale != 1.0:
            raise ValueError("`guidance_scale` needs `labels`.")
        report = _report(progress, name)
        parts = []
        try:
            for part in _draw_level(
                sampler, codes, level_labels, numbers, batch_size, seed, report
            ):
                parts.append(part)
        except KeyboardInterrupt:
            if level < len(names) - 1 or not parts:
                raise
        drawn = np.concatenate(parts)
        codes = [*(x[: len(drawn)] for x in codes), drawn]
    return tuple(codes)


def count_images(num_images, labels, codes):
    """The number of images that arguments of `VQVAE2.generate` name.

    Raises:
        ValueError: If they do not name one number.
    """
    images = None if num_images is None else range(num_images)
    given = {len(x) for x in (images, labels, *codes) if x is not None}
    if len(given) != 1:
        raise ValueError(
            "`num_images`, `labels` and `codes` must say one number of "
            f"images. They say: {sorted(given) or 'none'}"
        )
    return given.pop()


def print_progress(level, share, seconds):
    """A `progress` of `VQVAE2.generate`: a line on stderr for each level."""
    print(
        f"\r{level}: {share:4.0%}, {seconds:.0f} s left ",
        end="" if share < 1 else "\n",
        file=sys.stderr,
        flush=True,
    )


def _report(progress, name):
    """`progress` as a function of the share that is done alone."""
    started = time.monotonic()

    def report(share):
        if progress is not None:
            seconds = time.monotonic() - started
            progress(name, share, seconds * (1 - share) / share)

    return report


def _draw_level(sampler, codes, labels, numbers, batch_size, seed, report):
    """Batches of a level's codes; `codes` are the coarser levels'."""
    size = sampler.prior.sizes[-1]
    number = len(numbers)
    for start in range(0, number, batch_size):
        images = np.arange(start, min(start + batch_size, number))
        count = len(images)
        # A smaller last batch would be compiled by itself.
        padding = min(batch_size, number) - count
        padded = np.pad(images, (0, padding), mode="edge")
        drawn, _, _ = sampler.sample(
            # Each level has draws of its own.
            uniform_draws(seed, numbers[padded], size, level=len(codes)),
            [x[padded] for x in codes],
            None if labels is None else labels[padded],
            on_row=lambda row, start=start, count=count: report(
                (start + count * row / size[0]) / number
            ),
        )
        yield drawn[:count]


def check_labels(prior, labels):
    """Raises ValueError unless labels fit a prior."""
    if labels is None:
        return
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


def check_sizes(prior, codes):
    """Raises ValueError unless given maps fit a prior."""
    expected = prior.sizes[:-1]
    received = tuple(tuple(x.shape[1:]) for x in codes)
    if received != expected:
        raise ValueError(
            f"The prior is for coarser maps of the sizes {expected}. "
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

import math

import numpy as np

from keras_vqvae2.sampling import LogProbabilities


def negative_log_likelihood(
    model, codes, labels=None, image_size=None, batch_size=100
):
    """Mean negative log-likelihood of codes under a model's priors.

    Args:
        model: `VQVAE2` with a prior for each level.
        codes: Tuple of integer arrays `(images, height_i, width_i)`, coarse to
            fine, as of `VQVAE2.encode`.
        labels: Integer array `(images,)`, or None for priors without classes.
        image_size: `(height, width)` for bits per pixel, or None for the
            codes' size times the total stride.
        batch_size: Images at a time.

    Returns:
        Dict: for each level, by its name, `nats_per_code` (the paper's NLL),
        `bits_per_code` and `uniform_nats_per_code`, log(num_embeddings); and
        `bits_per_pixel`, the length of all codes under the priors.

    Raises:
        ValueError: If a prior is missing, or codes or labels do not fit.

    Source: algorithm 2 and table 1 of VQ-VAE-2, arXiv 1906.00446.
    """
    vqvae = model.vqvae
    if len(codes) != vqvae.num_levels:
        raise ValueError(
            f"`codes` must be {vqvae.num_levels} maps. Received: {len(codes)}"
        )
    if image_size is None:
        stride = vqvae.total_stride
        image_size = [length * stride for length in codes[0].shape[1:]]
    metrics, bits = {}, 0.0
    for level, name in enumerate(vqvae.level_names):
        prior = model.load_prior(name)
        maps = [np.asarray(x) for x in codes[: level + 1]]
        shapes = tuple(x.shape[1:] for x in maps)
        if shapes != prior.code_shapes:
            raise ValueError(
                f"The prior of {name} is for maps of the shapes "
                f"{prior.code_shapes}. Received: {shapes}"
            )
        if prior.num_classes is not None:
            if labels is None:
                raise ValueError(
                    f"The prior of {name} is class-conditional: pass `labels`."
                )
            labels = np.asarray(labels)
            if (
                labels.shape != maps[0].shape[:1]
                or labels.min() < 0
                or labels.max() > prior.num_classes
            ):
                raise ValueError(
                    f"`labels` must be {len(maps[0])} integers in "
                    f"0..{prior.num_classes - 1}."
                )
        log_probabilities = LogProbabilities(prior)(
            maps, None if prior.num_classes is None else labels, batch_size
        )
        total = sum(x.sum(dtype="float64") for x, _ in log_probabilities)
        nats = float(-total / maps[-1].size)
        metrics[name] = {
            "nats_per_code": nats,
            "bits_per_code": nats / math.log(2),
            "uniform_nats_per_code": math.log(vqvae.num_embeddings),
        }
        bits += nats / math.log(2) * math.prod(shapes[-1])
    metrics["bits_per_pixel"] = bits / math.prod(image_size)
    return metrics

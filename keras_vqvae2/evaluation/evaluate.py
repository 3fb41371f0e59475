import json
import math
import pathlib
import sys
import time

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.code_search import check_search
from keras_vqvae2.compression import check_rate_weight
from keras_vqvae2.evaluation.classifier import classification_accuracy_score
from keras_vqvae2.evaluation.evaluation_dataset import class_folder_names
from keras_vqvae2.evaluation.evaluation_dataset import evaluation_dataset
from keras_vqvae2.evaluation.image_set import ImageSet
from keras_vqvae2.evaluation.likelihood import negative_log_likelihood
from keras_vqvae2.evaluation.nearest_images import nearest_images
from keras_vqvae2.evaluation.rejection_curve import best_images
from keras_vqvae2.evaluation.rejection_curve import write_rejection_curve
from keras_vqvae2.evaluation.sample_metrics import sample_metrics
from keras_vqvae2.evaluation.sample_metrics import spread
from keras_vqvae2.files import atomic_path
from keras_vqvae2.files import check_writable
from keras_vqvae2.models._inputs import check_image_size
from keras_vqvae2.sampling.generate import MAX_IMAGES
from keras_vqvae2.sampling.generate import MAX_SEED
from keras_vqvae2.sampling.rejection import class_probabilities
from keras_vqvae2.visualization import figure3
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image

_NUM_NEAREST = 7
_GRID = 10


def evaluate(
    model,
    test_data,
    output,
    *,
    data=None,
    split="train",
    test_split="test",
    image_size=None,
    resize=None,
    data_dir=None,
    download=False,
    num_images=None,
    rate_weight=0.0,
    search_steps=0,
    classifier=None,
    features=None,
    num_samples=1000,
    guidance_scales=(1.0,),
    temperature=1.0,
    top_k=None,
    top_p=None,
    num_candidates=(),
    cas_steps=0,
    seed=0,
    batch_size=16,
    verbose=False,
):
    """Computes all metrics of a model, with images that illustrate them.

    Keeps the model's priors in memory (`VQVAE2.keep_priors`).

    Reconstruction of test images, and of training images beside them; with
    priors, likelihoods and samples; with `features`, FID, FID*, Inception
    Score, precision and recall; with `classifier`, accuracies. Samples are
    compared with the training images if there are any, else with the test
    images.

    `output` gets `metrics.json`, `reconstructions.png` (of the plain encoder's
    codes), and with priors `samples.png` (the first ten of each class, at the
    last guidance scale), `nearest.png` (samples and the training images
    nearest to them in pixel space), `rejection.csv` and `rejection.png`.

    Args:
        model: `VQVAE2`.
        test_data: Folder of images that the model was not trained on, with
            one subfolder per class if the priors or a classifier need
            classes; or `tfds:<name>`.
        output: Folder for the results.
        data: The same for training images, or None.
        split: Split of a TFDS data set of training images.
        test_split: Split of a TFDS data set of test images.
        image_size: Height and width of the center crops; None takes that of
            the priors, or 256.
        resize: Length to which the shorter side of images is resized first,
            or None.
        data_dir: As for `tfds_dataset`, for TFDS data sets.
        download: As for `tfds_dataset`, for TFDS data sets.
        num_images: Maximum number of test images, and of training images;
            None takes all. From a folder, they are evenly spaced.
        rate_weight: As for `VQVAE2.encode`: smaller code files, less quality.
        search_steps: As for `VQVAE2.encode`: codes of nearer images, several
            times the work.
        classifier: Keras model from images to logits or probabilities of the
            classes in `data`, in the order of their names; or None.
        features: `FeatureExtractor`, or a function like one; or None.
        num_samples: Number of samples at each guidance scale; 0 for none.
        guidance_scales: Sequence of `guidance_scale` for `VQVAE2.generate`.
        temperature: As for `VQVAE2.generate`.
        top_k: As for `VQVAE2.generate`.
        top_p: As for `VQVAE2.generate`.
        num_candidates: Sequence of `num_candidates` for `VQVAE2.generate`, at
            the first guidance scale: the curve of quality against diversity.
        cas_steps: Training steps of each classifier of the classification
            accuracy score; 0 for none.
        seed: Seed of the samples.
        batch_size: Images at a time.
        verbose: Whether to report progress on stderr.

    Returns:
        Dict of all metrics, as in `metrics.json`.

    Raises:
        ValueError: If an argument does not fit, there are fewer than two
            images, or the classifier has another number of classes.
    """
    check_writable(output, folder=True)
    check_integer("num_samples", num_samples, minimum=0, maximum=MAX_IMAGES)
    check_integer("cas_steps", cas_steps, minimum=0)
    check_integer("seed", seed, minimum=0, maximum=MAX_SEED)
    check_integer("batch_size", batch_size)
    for number in num_candidates:
        check_integer("num_candidates", number)
    check_rate_weight(rate_weight)
    check_search(search_steps, rate_weight)
    encoding = {"rate_weight": rate_weight, "search_steps": search_steps}
    say = _reporter(verbose)
    vqvae = model.vqvae
    with_priors = set(model.priors) == set(vqvae.level_names)
    if with_priors:
        model.keep_priors()
    image_size, num_classes = _image_size(model, image_size, with_priors)
    with_samples = with_priors and num_samples > 0
    options = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
    }
    if with_samples:
        _check_sampling(model, num_samples, guidance_scales, options)
    if num_candidates and not (with_samples and classifier and num_classes):
        raise ValueError(
            "`num_candidates` needs a classifier, and class-conditional priors."
        )
    if cas_steps and not (with_samples and num_classes and data):
        raise ValueError(
            "The classification accuracy score needs training images, and "
            "class-conditional priors."
        )
    with_labels = bool(num_classes or classifier)
    source = data or test_data
    names = class_folder_names(source) if with_labels else None
    _check_classes(vqvae, image_size, classifier, num_classes, names, source)
    output = pathlib.Path(output)

    def dataset(source, source_split, number):
        return evaluation_dataset(
            source,
            image_size,
            batch_size,
            number,
            split=source_split,
            resize=resize,
            data_dir=data_dir,
            download=download,
            labels=(names or True) if with_labels else False,
        )

    metrics = {
        "model": model.name,
        "image_size": image_size,
        "classes": names,
        "features": features and features.name,
        "encoding": encoding,
        "options": options,
    }
    sets = {}
    for name, source, source_split in (
        ("test", test_data, test_split),
        ("train", data, split),
    ):
        if source is None:
            continue
        say(f"{name} images")
        sets[name] = ImageSet(
            model,
            dataset(source, source_split, num_images),
            with_labels,
            features,
            classifier,
            batch_size,
            keep=bool(cas_steps),
            encoding=encoding,
        )
        metrics[name] = sets[name].metrics()
        if with_priors:
            say(f"likelihood, {name}")
            metrics[name]["nll"] = negative_log_likelihood(
                model,
                sets[name].codes,
                sets[name].labels if num_classes else None,
                batch_size=max(batch_size, 100),
            )
    save_image(
        output / "reconstructions.png",
        figure3(model, sets["test"].examples, batch_size),
    )
    _write(metrics, output)
    if not with_samples:
        return metrics

    labels = np.arange(num_samples) % num_classes if num_classes else None
    reference = sets.get("train", sets["test"])
    metrics["reference"] = "train" if "train" in sets else "test"
    metrics["samples"] = []
    options |= {"batch_size": batch_size, "verbose": int(verbose)}

    def judged(samples):
        return sample_metrics(
            samples, labels, reference, features, classifier, names
        )

    first = samples = None
    for scale in guidance_scales:
        say(f"samples, guidance scale {scale:g}")
        drawing = {**options, "guidance_scale": scale}
        if first is None and num_candidates:
            best = best_images(
                model, classifier, num_candidates, labels, drawing
            )
            metrics["rejection"] = [
                {
                    "num_candidates": number,
                    "guidance_scale": scale,
                    **judged(best[number]),
                }
                for number in num_candidates
            ]
            write_rejection_curve(metrics["rejection"], output)
            samples = best[1]
        else:
            samples = model.generate(
                num_samples if labels is None else None, labels, **drawing
            )
        first = samples if first is None else first
        metrics["samples"].append({"guidance_scale": scale, **judged(samples)})
        _write(metrics, output)  # a long run's metrics so far
    save_image(output / "samples.png", image_grid(_grid(samples, labels)))
    if cas_steps:
        metrics["classification_accuracy_score"] = _accuracy_scores(
            sets, first, labels, num_classes, cas_steps, seed, say
        )
    if data is not None:
        say("nearest training images")
        batches = dataset(data, split, None)
        if with_labels:
            batches = batches.map(lambda images, labels: images)
        metrics["nearest_training_image_rmse"] = _save_nearest(
            _grid(samples, labels), batches, output
        )
    _write(metrics, output)
    return metrics


def _image_size(model, image_size, with_priors):
    """`(image_size, num_classes)`: those of the priors, if there are any."""
    vqvae = model.vqvae
    num_classes = None
    if with_priors:
        prior = model.load_prior(vqvae.level_names[-1])
        num_classes = prior.num_classes
        size = prior.code_shapes[-1][0] * vqvae.strides[0]
        if image_size not in (None, size):
            raise ValueError(
                f"The priors are for images of {size}x{size}. Received: "
                f"image_size={image_size}"
            )
        image_size = size
    image_size = image_size or 256
    check_image_size(image_size, vqvae)
    return image_size, num_classes


def _check_sampling(model, num_samples, guidance_scales, options):
    """Raises now, not after the work, if samples cannot be drawn."""
    if num_samples < 2:
        raise ValueError(
            f"At least two samples are needed. Received: {num_samples}"
        )
    if not guidance_scales:
        raise ValueError("`guidance_scales` must name at least one.")
    options = {k: v for k, v in options.items() if k != "seed"}
    for scale in guidance_scales:
        model.load_sampler(
            model.vqvae.level_names[0], guidance_scale=scale, **options
        )


def _check_classes(vqvae, image_size, classifier, num_classes, names, source):
    """Raises now, not after the work, if classes do not fit together."""
    if classifier is not None:
        class_probabilities(
            classifier,
            np.zeros((1, image_size, image_size, vqvae.num_channels), "uint8"),
            num_classes or (names and len(names)),
        )
    if names and num_classes and len(names) > num_classes:
        raise ValueError(
            f"There are {len(names)} classes in {source}, but the priors have "
            f"{num_classes}."
        )


def _accuracy_scores(sets, samples, labels, num_classes, steps, seed, say):
    """Classification accuracy scores of real, decoded and sampled images."""
    train, test = sets["train"], sets["test"]
    number = min(len(samples), len(train.images))
    some = spread(len(train.images), number)
    scores = {}
    for name, images, image_labels in (
        ("real", train.images[some], train.labels[some]),
        ("reconstructions", train.reconstructions[some], train.labels[some]),
        ("samples", samples[:number], labels[:number]),
    ):
        say(f"classification accuracy score, {name}")
        scores[name] = classification_accuracy_score(
            images,
            image_labels,
            test.images,
            test.labels,
            num_classes=num_classes,
            steps=steps,
            seed=seed,
        )
    return scores


def _save_nearest(grid, batches, output):
    """Writes `nearest.png`; returns the distances to the nearest images."""
    picked = np.stack([row[0] for row in grid])
    nearest, errors = nearest_images(picked, batches, _NUM_NEAREST)
    rows = [
        [sample, *found] for sample, found in zip(picked, nearest, strict=True)
    ]
    save_image(output / "nearest.png", image_grid(rows))
    return errors[:, 0].tolist()


def _grid(samples, labels):
    """Rows of ten samples: one row a class, if there are classes."""
    if labels is None:
        rows = [samples[i : i + _GRID] for i in range(0, len(samples), _GRID)]
        return rows[:_GRID]
    return [samples[labels == label][:_GRID] for label in np.unique(labels)]


def _write(metrics, output):
    text = json.dumps(_plain(metrics), indent=2, allow_nan=False) + "\n"
    with atomic_path(output / "metrics.json") as temporary:
        temporary.write_text(text, "utf-8")


def _plain(value):
    """With null for infinity, which JSON lacks: the PSNR of an exact copy."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _reporter(verbose):
    started = time.monotonic()

    def say(text):
        if verbose:
            seconds = time.monotonic() - started
            print(f"[{seconds:.0f} s] {text}", file=sys.stderr, flush=True)

    return say

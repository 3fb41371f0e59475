import csv
import json
import math
import pathlib
import sys
import time

import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.data import class_names
from keras_vqvae2.data import image_dataset
from keras_vqvae2.data import list_images
from keras_vqvae2.evaluation.classifier import classification_accuracy_score
from keras_vqvae2.evaluation.classifier import top_k_accuracy
from keras_vqvae2.evaluation.frechet_distance import FeatureStatistics
from keras_vqvae2.evaluation.frechet_distance import frechet_distance
from keras_vqvae2.evaluation.inception_score import inception_score
from keras_vqvae2.evaluation.likelihood import negative_log_likelihood
from keras_vqvae2.evaluation.precision_recall import precision_recall
from keras_vqvae2.evaluation.reconstruction import ReconstructionFigures
from keras_vqvae2.files import atomic_path
from keras_vqvae2.sampling.rejection import class_probabilities
from keras_vqvae2.sampling.rejection import generate_candidates
from keras_vqvae2.visualization import figure3
from keras_vqvae2.visualization import save_image
from keras_vqvae2.visualization import tile

_NUM_EXAMPLES = 6
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
    num_images=None,
    classifier=None,
    features=None,
    num_samples=1000,
    guidance_scales=(1.0,),
    temperature=1.0,
    top_k=None,
    top_p=None,
    keep_rates=(),
    cas_steps=0,
    seed=0,
    batch_size=16,
    verbose=False,
):
    """All figures of a model, and the pictures that go with them.

    Keeps the model's priors loaded (`VQVAE2.keep_priors`).

    Reconstruction of test images, and of training images beside them; with
    priors, likelihoods and samples; with `features`, FID, FID*, Inception
    Score, precision and recall; with `classifier`, accuracies. Samples are
    compared with the training images if there are any, else the test images.

    `output` gets `metrics.json`, `reconstructions.png`, and with priors
    `samples.png` (ten of each class, at the last guidance scale; nothing is
    picked), `nearest.png` (samples and the training images closest to them in
    pixels), `rejection.csv` and `rejection.png`.

    Args:
        model: `VQVAE2`.
        test_data: Folder of images that nothing was trained on, with a folder
            for each class if the priors or a classifier need classes; or
            `tfds:<name>`.
        output: Folder for the results.
        data: The same of training images, or None.
        split: Split of a TFDS data set of training images.
        test_split: Split of a TFDS data set of test images.
        image_size: Height and width of the centre crops; None takes that of
            the priors, or 256.
        resize: Shorter side that images are resized to first, or None.
        num_images: Greatest number of test images, and of training images;
            None takes all. Of a folder these are spread evenly.
        classifier: Keras model from images to logits or probabilities of the
            classes in `data`, in the order of their names; or None.
        features: `FeatureExtractor`, or a function like one; or None.
        num_samples: Samples at each guidance scale; 0 for none.
        guidance_scales: As `guidance_scale` of `VQVAE2.generate`, several.
        temperature: As for `VQVAE2.generate`.
        top_k: As for `VQVAE2.generate`.
        top_p: As for `VQVAE2.generate`.
        keep_rates: As `keep` of `VQVAE2.generate`, several, at the first
            guidance scale: the curve of quality against diversity.
        cas_steps: Training steps of each classifier of the classification
            accuracy score; 0 for none.
        seed: Fixes the samples.
        batch_size: Images at a time.
        verbose: Whether to say on stderr what is done.

    Returns:
        Dict of all figures, as in `metrics.json`.

    Raises:
        ValueError: If an argument does not fit, there are fewer than two
            images, or the classifier has another number of classes.
    """
    check_integer("num_samples", num_samples, minimum=0)
    check_integer("cas_steps", cas_steps, minimum=0)
    say = _reporter(verbose)
    vqvae = model.vqvae
    with_priors = set(model.priors) == set(vqvae.level_names)
    num_classes = None
    if with_priors:
        model.keep_priors()
        prior = model.load_prior(vqvae.level_names[-1])
        num_classes = prior.num_classes
        size = prior.sizes[-1][0] * vqvae.strides[0]
        if image_size not in (None, size):
            raise ValueError(
                f"The priors are for images of {size}x{size}. Received: "
                f"image_size={image_size}"
            )
        image_size = size
    image_size = image_size or 256
    if image_size % vqvae.total_stride:
        raise ValueError(
            f"The image size must be a multiple of {vqvae.total_stride}, the "
            f"model's total stride. Received: {image_size}"
        )
    with_samples = with_priors and num_samples > 0
    if with_samples:
        if num_samples < 2:
            raise ValueError(
                f"At least two samples are needed. Received: {num_samples}"
            )
        if not guidance_scales:
            raise ValueError("`guidance_scales` must name at least one.")
        for scale in guidance_scales:  # A wrong option is an error now.
            model.load_sampler(
                vqvae.level_names[0],
                temperature=temperature,
                top_k=top_k,
                top_p=top_p,
                guidance_scale=scale,
            )
    for keep in keep_rates:
        num_candidates(keep)
    if keep_rates and not (with_samples and classifier and num_classes):
        raise ValueError(
            "`keep_rates` needs a classifier, and class-conditional priors."
        )
    if cas_steps and not (with_samples and num_classes and data):
        raise ValueError(
            "The classification accuracy score needs training images, and "
            "class-conditional priors."
        )
    with_labels = bool(num_classes or classifier)
    names = _class_names(data or test_data) if with_labels else None
    if classifier is not None:
        found = num_classes or (names and len(names))
        class_probabilities(
            classifier,
            np.zeros((1, image_size, image_size, vqvae.num_channels), "uint8"),
            found,
        )
    if names and num_classes and len(names) > num_classes:
        raise ValueError(
            f"There are {len(names)} classes in {data or test_data}, but the "
            f"priors have {num_classes}."
        )
    output = pathlib.Path(output)

    def dataset(source, source_split, number):
        return _dataset(
            source,
            image_size,
            batch_size,
            number,
            split=source_split,
            resize=resize,
            labels=(names or True) if with_labels else False,
        )

    def measure(source, source_split, keep):
        return _ImageSet(
            model,
            dataset(source, source_split, num_images),
            with_labels,
            features,
            classifier,
            batch_size,
            keep,
        )

    figures = {
        "model": model.name,
        "image_size": image_size,
        "classes": names,
        "features": features and features.name,
        "options": {
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "seed": seed,
        },
    }
    say("test images")
    sets = {"test": measure(test_data, test_split, bool(cas_steps))}
    save_image(
        output / "reconstructions.png",
        figure3(model, sets["test"].examples, batch_size),
    )
    if data is not None:
        say("training images")
        sets["train"] = measure(data, split, bool(cas_steps))
    for name, images in sets.items():
        figures[name] = images.figures()
        if with_priors:
            say(f"likelihood, {name}")
            figures[name]["nll"] = negative_log_likelihood(
                model,
                images.codes,
                images.labels if num_classes else None,
                batch_size=max(batch_size, 100),
            )
    _write(figures, output)
    if not with_samples:
        return figures

    reference = sets.get("train", sets["test"])
    wanted = np.arange(num_samples) % num_classes if num_classes else None
    options = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "seed": seed,
        "batch_size": batch_size,
        "verbose": int(verbose),
    }

    def judge(samples):
        return _sample_figures(
            samples, wanted, reference, features, classifier, names
        )

    figures["reference"] = "train" if "train" in sets else "test"
    figures["samples"] = []
    plain = samples = None
    for number, scale in enumerate(guidance_scales):
        say(f"samples, guidance scale {scale:g}")
        options["guidance_scale"] = scale
        if number == 0 and keep_rates:
            kept = _kept(
                model, classifier, keep_rates, wanted, options
            )  # by rate, 1 among them
            figures["rejection"] = [
                {"keep": keep, "guidance_scale": scale, **judge(kept[keep])}
                for keep in keep_rates
            ]
            samples = kept[1]
            _write_rejection(figures["rejection"], output)
        else:
            samples = model.generate(
                None if num_classes else num_samples, wanted, **options
            )
        plain = samples if plain is None else plain
        figures["samples"].append({"guidance_scale": scale, **judge(samples)})
        _write(figures, output)  # a long run's figures so far
    save_image(output / "samples.png", tile(_grid(samples, wanted)))
    if cas_steps:
        figures["classification_accuracy_score"] = {}
        number = min(len(plain), len(reference.images))
        some = _spread(len(reference.images), number)
        for name, images, labels in (
            ("real", reference.images[some], reference.labels[some]),
            (
                "reconstructions",
                reference.reconstructions[some],
                reference.labels[some],
            ),
            ("samples", plain[:number], wanted[:number]),
        ):
            say(f"classification accuracy score, {name}")
            figures["classification_accuracy_score"][name] = (
                classification_accuracy_score(
                    images,
                    labels,
                    sets["test"].images,
                    sets["test"].labels,
                    num_classes=num_classes,
                    steps=cas_steps,
                    seed=seed,
                )
            )
    if data is not None:
        say("nearest training images")
        picked = np.stack([row[0] for row in _grid(samples, wanted)])
        nearest, errors = nearest_images(
            picked,
            (
                batch[0] if with_labels else batch
                for batch in dataset(data, split, None)
            ),
            _NUM_NEAREST,
        )
        rows = [
            [sample, *found]
            for sample, found in zip(picked, nearest, strict=True)
        ]
        save_image(output / "nearest.png", tile(rows))
        figures["nearest_training_image_rmse"] = errors[:, 0].tolist()
    _write(figures, output)
    return figures


class _ImageSet:
    """Figures, codes, features of a set of images, in one pass."""

    def __init__(
        self,
        model,
        dataset,
        with_labels,
        features,
        classifier,
        batch_size,
        keep,
    ):
        reconstruction = ReconstructionFigures(model, batch_size)
        self._with_classes = classifier is not None
        self.statistics = FeatureStatistics()
        self.reconstruction_statistics = FeatureStatistics()
        parts = {}
        examples = []

        def add(name, values):
            parts.setdefault(name, []).append(values)

        for batch in dataset:
            images, labels = batch if with_labels else (batch, None)
            images = images.numpy()
            codes, decoded = reconstruction.update(images)
            for level, maps in enumerate(codes):
                add(level, maps)
            # Examples of all parts of the set, which is sorted by class.
            examples.append(images[:1])
            if labels is not None:
                add("labels", labels.numpy())
            if keep:
                add("images", images)
                add("reconstructions", decoded)
            if features is not None:
                vectors, _ = features(images)
                add("features", vectors)
                self.statistics.update(vectors)
                self.reconstruction_statistics.update(features(decoded)[0])
            if classifier is not None:
                add("classes", class_probabilities(classifier, images))
                add("decoded_classes", class_probabilities(classifier, decoded))
        parts = {name: np.concatenate(part) for name, part in parts.items()}
        self.codes = tuple(
            parts[level] for level in range(model.vqvae.num_levels)
        )
        if len(self.codes[0]) < 2:
            raise ValueError(
                "At least two images are needed. Received: "
                f"{len(self.codes[0])}"
            )
        self.labels = parts.get("labels")
        self.images = parts.get("images")
        self.reconstructions = parts.get("reconstructions")
        self.features = parts.get("features")
        self._classes = {
            "originals": parts.get("classes"),
            "reconstructions": parts.get("decoded_classes"),
        }
        some = _spread(len(examples), min(_NUM_EXAMPLES, len(examples)))
        self.examples = np.concatenate([examples[i] for i in some])
        self._reconstruction = reconstruction

    def figures(self):
        figures = {"reconstruction": self._reconstruction.result()}
        if self.features is not None:
            figures["fid_of_reconstructions"] = frechet_distance(
                self.statistics, self.reconstruction_statistics
            )
        if self._with_classes:
            figures["classifier"] = {
                name: _accuracies(probabilities, self.labels)
                for name, probabilities in self._classes.items()
            }
        return figures


def nearest_images(samples, batches, number):
    """The images closest to samples in pixels, of a data set of any size.

    Args:
        samples: uint8 array `(samples, height, width, channels)`.
        batches: Iterable of uint8 arrays `(batch, height, width, channels)`.
        number: Images for each sample.

    Returns:
        Tuple of the uint8 array `(samples, number, height, width, channels)`,
        closest first, and the float64 array `(samples, number)` of root mean
        squared errors, in pixel values.
    """
    flat = samples.reshape(len(samples), -1).astype("float32")
    images = errors = None
    for batch in batches:
        batch = np.asarray(batch)
        other = batch.reshape(len(batch), -1).astype("float32")
        found = np.stack([((other - x) ** 2).mean(axis=1) for x in flat])
        candidates = np.broadcast_to(batch, (len(samples), *batch.shape))
        if images is not None:
            found = np.concatenate([errors, found], axis=1)
            candidates = np.concatenate([images, candidates], axis=1)
        order = np.argsort(found, axis=1, kind="stable")[:, :number]
        rows = np.arange(len(samples))[:, None]
        images, errors = candidates[rows, order], found[rows, order]
    return images, np.sqrt(errors.astype("float64"))


def _class_names(source):
    """Names of the class folders, or None for a TFDS data set."""
    return None if str(source).startswith("tfds:") else class_names(source)


def _dataset(source, image_size, batch_size, number, **options):
    """Batches of at most `number` images, evenly spread over a folder."""
    stride = 1
    folder = not str(source).startswith("tfds:")
    if number is not None:
        check_integer("num_images", number)
        if folder:
            stride = -(-len(list_images(source)) // number)
    # One of `stride` workers, which deal the images out among themselves.
    dataset = image_dataset(
        source,
        image_size,
        batch_size * stride,
        training=False,
        shard=(0, stride),
        **options,
    )
    if number is not None and not folder:
        dataset = dataset.unbatch().take(number).batch(batch_size)
    return dataset


def _accuracies(probabilities, labels):
    result = {"top_1": top_k_accuracy(probabilities, labels)}
    if probabilities.shape[1] > 5:
        result["top_5"] = top_k_accuracy(probabilities, labels, 5)
    return result


def _sample_figures(samples, labels, reference, features, classifier, names):
    row = {"images": len(samples)}
    if features is not None:
        vectors, probabilities = features(samples)
        statistics = FeatureStatistics(vectors)
        row["fid"] = frechet_distance(reference.statistics, statistics)
        row["fid_star"] = frechet_distance(
            reference.reconstruction_statistics, statistics
        )
        row["reference_images"] = reference.statistics.count
        # Of equal numbers, as in the paper: both depend on the numbers.
        number = min(len(vectors), len(reference.features))
        if number > 3:
            row["precision"], row["recall"] = precision_recall(
                reference.features[_spread(len(reference.features), number)],
                vectors[_spread(len(vectors), number)],
            )
        if probabilities is not None:
            splits = 10 if len(samples) >= 1000 else 1
            row["inception_score"], row["inception_score_std"] = (
                inception_score(probabilities, splits)
            )
            row["inception_score_splits"] = splits
    if classifier is not None and labels is not None:
        probabilities = class_probabilities(classifier, samples)
        row |= _accuracies(probabilities, labels)
        row["by_class"] = {
            names[label] if names else str(label): top_k_accuracy(
                probabilities[labels == label], labels[labels == label]
            )
            for label in np.unique(labels)
        }
    return row


def _kept(model, classifier, keep_rates, labels, options):
    """Images by keep rate, the best of the first candidates of each; and 1."""
    numbers = {keep: num_candidates(keep) for keep in (1, *keep_rates)}
    images = {keep: [] for keep in numbers}
    for candidates, scores in generate_candidates(
        model, classifier, max(numbers.values()), labels=labels, **options
    ):
        for keep, number in numbers.items():
            images[keep].append(candidates[scores[:number].argmax()])
    return {keep: np.stack(kept) for keep, kept in images.items()}


def num_candidates(keep):
    """Candidates for each image, 1 / `keep`."""
    if 0 < keep <= 1 and math.isclose(round(1 / keep) * keep, 1, rel_tol=0.02):
        return round(1 / keep)
    raise ValueError(
        "`keep` must be a share of the form 1/n: 1, 0.5, 0.33, 0.25, ... "
        f"Received: {keep!r}"
    )


def _spread(size, number):
    return np.linspace(0, size - 1, number).round().astype(int)


def _grid(samples, labels):
    """Rows of ten samples: one row a class, if there are classes."""
    if labels is None:
        rows = [samples[i : i + _GRID] for i in range(0, len(samples), _GRID)]
        return rows[:_GRID]
    return [samples[labels == label][:_GRID] for label in np.unique(labels)]


def _write(figures, output):
    text = json.dumps(_plain(figures), indent=2, allow_nan=False) + "\n"
    with atomic_path(output / "metrics.json") as temporary:
        temporary.write_text(text, "utf-8")


def _plain(value):
    """With null for what JSON does not have: the PSNR of an exact copy."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _write_rejection(rows, output):
    columns = [
        name for name, value in rows[0].items() if not isinstance(value, dict)
    ]
    with atomic_path(output / "rejection.csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 3)
    keep = [row["keep"] for row in rows]
    for panel, (title, names) in zip(
        panels,
        (
            ("lower is better", {"fid": "FID", "fid_star": "FID*"}),
            ("higher is better", {"inception_score": "Inception Score"}),
            (
                "higher is better",
                {
                    "precision": "precision",
                    "recall": "recall",
                    "top_1": "class as asked",
                },
            ),
        ),
        strict=True,
    ):
        for name, label in names.items():
            if name in rows[0]:
                values = [row[name] for row in rows]
                panel.plot(keep, values, "o-", label=label)
                panel.legend()
        panel.set_title(f"{title}; {rows[0]['images']} samples each", size=9)
        panel.set_xscale("log", base=2)
        panel.set_xticks(keep, [f"{value:.3g}" for value in keep])
        panel.minorticks_off()
        panel.set_xlabel("share of candidates kept")
        panel.grid(alpha=0.3)
    with atomic_path(output / "rejection.png") as temporary:
        figure.savefig(temporary, dpi=110)


def _reporter(verbose):
    started = time.monotonic()

    def say(text):
        if verbose:
            seconds = time.monotonic() - started
            print(f"[{seconds:.0f} s] {text}", file=sys.stderr, flush=True)

    return say

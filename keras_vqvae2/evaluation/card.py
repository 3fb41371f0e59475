import json
import math
import os
import pathlib
import shutil

from keras_vqvae2.files import atomic_path

START = "<!-- evaluation -->"
END = "<!-- end of evaluation -->"
METRICS = "metrics.json"
CARD = "README.md"
_PICTURES = {
    "samples.png": "samples",
    "reconstructions.png": "originals, and images decoded from their codes",
    "nearest.png": "samples, and the training images nearest to them",
    "rejection.png": "metrics against the number of candidates",
}
# These show images of the data sets, which may not be free to publish.
_PHOTOGRAPHS = ("reconstructions.png", "nearest.png")
_FILES = (METRICS, "rejection.csv", *_PICTURES)


def check_card(folder):
    """The model card's text before and after the section of metrics.

    Args:
        folder: Folder of a saved model.

    Returns:
        Tuple of two strings. Without the markers `<!-- evaluation -->` and
        `<!-- end of evaluation -->` the section comes at the end.

    Raises:
        FileNotFoundError: If there is no such folder, or no card in it.
        PermissionError: If the folder cannot be written to.
        ValueError: If the markers are not one pair, in this order.
    """
    folder = pathlib.Path(folder)
    path = folder / CARD
    if not path.is_file() or not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} is not the folder of a saved model with a card "
            f"({CARD}) to write metrics into."
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to.")
    text = path.read_text("utf-8")
    if START not in text and END not in text:
        return text.rstrip("\n") + "\n\n", "\n"
    before, *rest = text.split(START)
    if len(rest) != 1 or END in before or rest[0].count(END) != 1:
        raise ValueError(
            f"{path} must have the lines {START} and {END} once each, in this "
            "order, or neither."
        )
    return before, rest[0].split(END)[1]


def write_card(folder, results, photographs=False):
    """Writes the results of `evaluate` into a saved model's folder.

    Pictures, CSV files and `metrics.json` are replaced, and so is the section
    of the model card between the markers `<!-- evaluation -->` and `<!-- end
    of evaluation -->`, or it is added at the end. The rest of the card stays
    as it is. Each file is written whole or not at all, the card last.

    Args:
        folder: Folder of a saved model.
        results: Folder that `evaluate` has written to.
        photographs: Whether to take over `reconstructions.png` and
            `nearest.png`, too, which show images of the data sets: a card is
            published with its model.

    Raises:
        FileNotFoundError: If one of the folders does not hold what it must.
        PermissionError: If the model's folder cannot be written to.
        ValueError: If the card has half of the markers.
    """
    folder, results = pathlib.Path(folder), pathlib.Path(results)
    before, after = check_card(folder)
    if not (results / METRICS).is_file():
        raise FileNotFoundError(
            f"{results} holds no results of an evaluation: no {METRICS}."
        )
    metrics = json.loads((results / METRICS).read_text("utf-8"))
    found = [
        name
        for name in _FILES
        if (results / name).is_file()
        and (photographs or name not in _PHOTOGRAPHS)
    ]
    section = card_section(metrics, found)
    for name in found:
        with atomic_path(folder / name) as temporary:
            shutil.copyfile(results / name, temporary)
    with atomic_path(folder / CARD) as temporary:
        temporary.write_text(f"{before}{START}\n{section}{END}{after}", "utf-8")


def card_section(metrics, files=()):
    """The section of a model card, Markdown.

    Args:
        metrics: What `evaluate` returned.
        files: Names of the pictures to show.

    Returns:
        Text that ends in a newline.
    """
    sets = {
        name: metrics[name] for name in ("test", "train") if name in metrics
    }
    size = metrics["image_size"]
    counts = " and ".join(
        f"{part['reconstruction']['images']} {_SET_NAMES[name]} images"
        for name, part in sets.items()
    )
    paragraphs = [
        "## Metrics",
        f"Of {counts}, {size}x{size}, measured and written here by\n"
        f"`keras-vqvae2 evaluate`; `{METRICS}` has all of them.",
        *_encoding(metrics),
        *_reconstruction(metrics, sets),
        *_likelihood(sets),
        *_classifier(sets),
        *_samples(metrics),
        *_rejection(metrics),
        *_accuracy_score(metrics),
        *(
            f"![{_PICTURES[name]}]({name})"
            for name in files
            # The rejection curve stands beside its table.
            if name in _PICTURES and name != "rejection.png"
        ),
    ]
    if "samples.png" in files:
        which = "Samples: the first ones"
        if metrics["classes"]:
            scale = metrics["samples"][-1]["guidance_scale"]
            which = f"Samples at guidance scale {scale:g}: the first of each"
            which += " class"
        paragraphs.append(f"{which}, not selected.")
    return "\n\n".join(paragraphs) + "\n"


_SET_NAMES = {"test": "test", "train": "training"}


def _table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value, digits=2):
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}"


def _percent(value):
    return "-" if value is None else f"{100 * value:.1f}%"


def _encoding(metrics):
    """How images were encoded, if not plainly."""
    changed = {k: v for k, v in metrics.get("encoding", {}).items() if v}
    if changed:
        options = ", ".join(f"{k}={v:g}" for k, v in changed.items())
        yield f"Codes are those of `encode(images, {options})`."


def _reconstruction(metrics, sets):
    levels = [
        key
        for key in sets["test"]["reconstruction"]
        if key.startswith("levels=")
    ]
    names = [
        key
        for key, row in sets["test"]["reconstruction"].items()
        if isinstance(row, dict) and "perplexity" in row
    ]
    rows = []
    for name, part in sets.items():
        for number, key in reversed(list(enumerate(levels, 1))):
            row = part["reconstruction"][key]
            maps = "all maps"
            if number < len(levels):
                maps = f"{' and '.join(names[:number])} alone"
            rows.append(
                [
                    f"{_SET_NAMES[name]}, {maps}",
                    _number(row["mse"], 5),
                    f"{_number(row['psnr_mean'])} dB",
                    _number(row["psnr_min"]),
                    _number(row["psnr_max"]),
                    _number(row.get("ssim_mean"), 3),
                ]
            )
    header = [
        "reconstruction",
        "MSE in [-1, 1]",
        "PSNR, mean",
        "worst",
        "best",
        "SSIM",
    ]
    yield _table(header, rows)
    test = sets["test"]["reconstruction"]
    bits = (
        f"Bits per pixel: {test['bits_per_pixel']:.3f} (raw codes), "
        f"{test['bits_per_pixel_entropy']:.3f} (entropy of the codes' "
        "histograms)"
    )
    if "nll" in sets["test"]:
        bits += f", {sets['test']['nll']['bits_per_pixel']:.3f} (priors)"
    if "bits_per_pixel_files" in test:
        bits += f", {test['bits_per_pixel_files']:.3f} (whole code files)"
    if "fid_of_reconstructions" in sets["test"]:
        bits += (
            ". Frechet distance of the reconstructions from the test images: "
            f"{_number(sets['test']['fid_of_reconstructions'])}"
            f" (features: {metrics['features']})"
        )
    yield bits + "."
    yield _table(
        ["codebook", "entries used", "perplexity", "entropy"],
        [
            [
                name,
                _percent(test[name]["codes_used"]),
                _number(test[name]["perplexity"], 0),
                f"{_number(test[name]['entropy_bits'])} bits per code",
            ]
            for name in names
        ],
    )


def _likelihood(sets):
    if "nll" not in sets["test"]:
        return
    rows = []
    for name, row in sets["test"]["nll"].items():
        if isinstance(row, dict):
            usage = sets["test"]["reconstruction"][name]
            train = sets.get("train", {}).get("nll", {}).get(name, {})
            rows.append(
                [
                    name,
                    _number(row["uniform_nats_per_code"], 3),
                    _number(usage["entropy_bits"] * math.log(2), 3),
                    _number(train.get("nats_per_code"), 3),
                    f"**{_number(row['nats_per_code'], 3)}**",
                    _number(row["bits_per_code"], 3),
                ]
            )
    yield _table(
        [
            "prior, nats per code",
            "uniform",
            "histogram",
            "training images",
            "test images",
            "test, bits per code",
        ],
        rows,
    )


def _classifier(sets):
    test = sets["test"].get("classifier")
    if test is not None:
        yield (
            "A classifier is right for "
            f"{_percent(test['originals']['top_1'])} of the test images, and "
            f"for {_percent(test['reconstructions']['top_1'])} of their "
            "reconstructions."
        )


_SAMPLE_COLUMNS = (
    ("fid", "FID", _number),
    ("fid_star", "FID*", _number),
    ("inception_score", "IS", _number),
    ("precision", "precision", lambda x: _number(x, 3)),
    ("recall", "recall", lambda x: _number(x, 3)),
    ("top_1", "requested class", _percent),
)


def _sample_table(first, rows, describe):
    columns = [column for column in _SAMPLE_COLUMNS if column[0] in rows[0]]
    return _table(
        [first, "images", *(title for _, title, _ in columns)],
        [
            [
                describe(row),
                str(row["images"]),
                *(show(row.get(name)) for name, _, show in columns),
            ]
            for row in rows
        ],
    )


def _samples(metrics):
    rows = metrics.get("samples")
    if not rows:
        return
    yield _sample_table(
        "samples, guidance scale",
        rows,
        lambda row: f"{row['guidance_scale']:g}",
    )
    if metrics["features"]:
        kind = {"train": "training", "test": "test"}[metrics["reference"]]
        yield (
            f"Features: {metrics['features']}; metrics are comparable only "
            "for the same features and numbers of images. FID compares the "
            f"samples with {rows[0]['reference_images']} {kind} images, FID* "
            "with the reconstructions of these."
        )


def _rejection(metrics):
    rows = metrics.get("rejection")
    if not rows:
        return
    yield _sample_table(
        "candidates for each image",
        rows,
        lambda row: str(row["num_candidates"]),
    )
    yield (
        "Rejection sampling (section 3.3): of the candidates for each image, "
        "the classifier keeps the one with the highest probability of the "
        "requested class. Metrics of the same classifier, or of its features, "
        "are biased in favour of these images."
    )
    yield f"![{_PICTURES['rejection.png']}](rejection.png)"


def _accuracy_score(metrics):
    rows = metrics.get("classification_accuracy_score")
    if not rows:
        return
    yield _table(
        [
            "classification accuracy score, trained on",
            "images",
            "top 1",
            "top 5",
        ],
        [
            [
                name,
                str(row["images"]),
                _percent(row["top_1"]),
                _percent(row.get("top_5")),
            ]
            for name, row in rows.items()
        ],
    )

"""Quality against diversity: rejection sampling by a classifier."""

import csv

import numpy as np

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.files import atomic_path
from keras_vqvae2.sampling.rejection import generate_candidates

figures = LazyModule("matplotlib.figure")


def best_images(model, classifier, numbers, labels, options):
    """The best of the first n candidates of each image, for several n.

    Args:
        model: `VQVAE2` with class-conditional priors.
        classifier: Keras model that ranks the candidates.
        numbers: Numbers of candidates.
        labels: Class of each image.
        options: Further arguments of `generate_candidates`.

    Returns:
        Dict: uint8 array of images by number of candidates, 1 among them.
    """
    images = {number: [] for number in (1, *numbers)}
    for candidates, scores in generate_candidates(
        model, classifier, max(images), labels=labels, **options
    ):
        for number in images:
            images[number].append(candidates[scores[:number].argmax()])
    return {number: np.stack(kept) for number, kept in images.items()}


def write_rejection_curve(rows, output):
    """Writes `rejection.csv` and `rejection.png`.

    Args:
        rows: Dicts of `num_candidates` and the metrics of the images kept.
        output: Folder to write to.
    """
    columns = [
        name for name, value in rows[0].items() if not isinstance(value, dict)
    ]
    with atomic_path(output / "rejection.csv") as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
    figure = figures.Figure(figsize=(9, 3.5), layout="constrained")
    panels = figure.subplots(1, 3)
    numbers = [row["num_candidates"] for row in rows]
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
                    "top_1": "requested class",
                },
            ),
        ),
        strict=True,
    ):
        for name, label in names.items():
            if name in rows[0]:
                values = [row[name] for row in rows]
                panel.plot(numbers, values, "o-", label=label)
                panel.legend()
        panel.set_title(f"{title}; {rows[0]['images']} samples each", size=9)
        panel.set_xscale("log", base=2)
        panel.set_xticks(numbers, [str(number) for number in numbers])
        panel.minorticks_off()
        panel.set_xlabel("candidates for each image")
        panel.grid(alpha=0.3)
    with atomic_path(output / "rejection.png") as temporary:
        figure.savefig(temporary, dpi=110)

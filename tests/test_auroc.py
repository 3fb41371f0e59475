import importlib.util
import pathlib

import numpy as np
import pytest

pytestmark = pytest.mark.once


def test_auroc_and_planted_defects():
    path = pathlib.Path(__file__).parents[1] / "benchmarks" / "anomalies.py"
    spec = importlib.util.spec_from_file_location("anomalies", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    # Of the pairs with 0.5 none is in order; with 2 one, and one is a tie.
    assert benchmark.auroc([1.0, 2.0], [0.5, 2.0, 3.0]) == pytest.approx(
        (0 + 1.5 + 2) / 6
    )
    assert benchmark.auroc([1, 2], [3, 4]) == 1
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), "uint8")
    for kind in ("cut-paste", "blob", "scratch"):
        copies, masks = benchmark.planted(
            images, kind, np.random.default_rng(1)
        )
        assert masks.any(axis=(1, 2)).all()
        assert (copies[~masks] == images[~masks]).all()
        assert (copies[masks] != images[masks]).any()

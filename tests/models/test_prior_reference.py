"""A whole prior beside one written in NumPy, position by position."""

import keras
import numpy as np
import pytest
from keras import ops
from reference import ReferencePrior
from tiny_models import make_prior
from tiny_models import random_codes

from keras_vqvae2.weights import weight_arrays


@pytest.mark.parametrize(
    ("changes", "attention_after"),
    [
        ({}, (1, 3)),
        ({"kernel_size": 3, "num_attention_layers": 1}, (3,)),
        (
            {
                "code_shapes": ((5, 4),),
                "num_classes": None,
                "num_blocks": 3,
                "num_attention_layers": 3,
                "num_heads": 4,
                "num_output_blocks": 0,
            },
            (0, 1, 2),
        ),
    ],
)
def test_logits_are_those_of_the_reference(changes, attention_after):
    float64 = keras.backend.backend() == "tensorflow"
    dtype = "float64" if float64 else "float32"
    prior = make_prior(**changes, dtype=dtype)
    shapes = prior.code_shapes
    maps = [random_codes(2, shape, seed) for seed, shape in enumerate(shapes)]
    inputs = {"codes": tuple(maps)}
    labels = [None, None]
    if prior.num_classes:
        labels = np.array([0, 3])  # 3: no class
        inputs["labels"] = labels
    logits = ops.convert_to_numpy(prior(inputs))
    reference = ReferencePrior(
        weight_arrays(prior), prior.num_heads, attention_after
    )
    for i in range(2):
        coarser = maps[0][i] if len(maps) > 1 else None
        expected = reference(maps[-1][i], labels[i], coarser)
        assert expected.std() > 0.1
        error = np.abs(logits[i] - expected).max() / np.abs(expected).max()
        # Other backends compute a part in float32 whatever the dtype.
        assert error < (1e-12 if float64 else 1e-5)

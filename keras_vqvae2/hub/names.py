"""Names of a saved model's files, and what a model may be called.

A saved model is a folder:

- `config.json`: arguments of the models, `hub.config.ModelConfig`.
- `model.safetensors`: weights by stable names, see `keras_vqvae2.weights`.
- `prior_<level>.safetensors`: the same for each prior, if there are any.
- `context.safetensors`: the context model of code files, if there is one.
- `SHA256SUMS`: the hashes of these files.
- `README.md`: the model card.
"""

import re

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CONTEXT = "context.safetensors"
SUMS = "SHA256SUMS"
CARD = "README.md"


def prior_file(level):
    """Name of the file of a level's prior."""
    return f"prior_{level}.safetensors"


def is_name(name):
    """Whether `name` can be a model's name."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,96}", name) is not None
    )

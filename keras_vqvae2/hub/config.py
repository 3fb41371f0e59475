"""`config.json`: a closed schema for data that may come from anywhere."""

import json
import math
import re
import reprlib

from keras_vqvae2.levels import level_names

FORMAT = "keras-vqvae2"
FORMAT_VERSION = 1

MAX_FILE_BYTES = 65536
# 1 GiB of float32. The paper's largest autoencoder has 4 million.
MAX_PARAMETERS = 2**28
# 8 GiB of float32: room for the paper's largest prior.
MAX_PRIOR_PARAMETERS = 2**31


def _integer(low, high):
    def check(value):
        return type(value) is int and low <= value <= high

    return check, f"an integer in {low}..{high}"


def _is_strides(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(s) is int and s in (2, 4, 8, 16, 32, 64) for s in value)
    )


def _is_even(value):
    return type(value) is int and 2 <= value <= 8192 and value % 2 == 0


def _is_cost(value):
    return type(value) in (int, float) and 0 <= value <= 1e6


def _is_decay(value):
    return value is None or (type(value) is float and 0 < value < 1)


def _is_share(value):
    return type(value) in (int, float) and 0 <= value < 1


_VQVAE_FIELDS = {
    "strides": (_is_strides, "a list of 1 to 8 powers of two in 2..64"),
    "hidden_dim": (_is_even, "an even integer in 2..8192"),
    "residual_dim": _integer(1, 8192),
    "num_residual_blocks": _integer(0, 32),
    "num_embeddings": _integer(1, 2**20),
    "embedding_dim": _integer(1, 8192),
    "commitment_cost": (_is_cost, "a number in 0..1e6"),
    "decay": (_is_decay, "null or a number between 0 and 1"),
    "dead_code_threshold": (_is_share, "at least 0 and below 1"),
    "num_channels": _integer(1, 1024),
    "seed": _integer(0, 2**31 - 1),
}


def _is_sizes(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(
            isinstance(size, (list, tuple))
            and len(size) == 2
            and all(type(side) is int and 1 <= side <= 1024 for side in size)
            for size in value
        )
    )


def _is_odd(value):
    return type(value) is int and 3 <= value <= 31 and value % 2 == 1


def _is_classes(value):
    return value is None or (type(value) is int and 1 <= value <= 2**20)


_PRIOR_FIELDS = {
    "sizes": (_is_sizes, "a list of 1 to 8 pairs of integers in 1..1024"),
    "num_embeddings": _integer(1, 2**20),
    "hidden_dim": (_is_even, "an even integer in 2..8192"),
    "residual_dim": _integer(1, 16384),
    "num_blocks": _integer(1, 256),
    "kernel_size": (_is_odd, "an odd integer in 3..31"),
    "num_attention_layers": _integer(0, 256),
    "num_heads": _integer(1, 256),
    "num_output_blocks": _integer(0, 256),
    "num_conditioning_blocks": _integer(0, 256),
    "dropout": (_is_share, "at least 0 and below 1"),
    "num_classes": (_is_classes, "null or an integer in 1..2**20"),
    "class_dropout": (_is_share, "at least 0 and below 1"),
    "seed": _integer(0, 2**31 - 1),
}


def model_config(vqvae, name, priors=None):
    """The content of `config.json` for a model.

    Args:
        vqvae: `HierarchicalVQVAE`.
        name: Name of the model, for people.
        priors: Arguments of `PixelSNAILPrior` by level name, or None.

    Returns:
        Dictionary of JSON values.

    Raises:
        ValueError: If the model is outside what `read_config` accepts.
    """
    arguments = vqvae.get_config()
    config = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": "vqvae2",
        "name": name,
        "vqvae": {key: arguments[key] for key in _VQVAE_FIELDS},
    }
    if priors:
        config["priors"] = {
            level: {key: prior[key] for key in _PRIOR_FIELDS}
            for level, prior in priors.items()
        }
    check_config(config, f"The model {name!r}")
    return config


def read_config(path):
    """Reads and checks a `config.json`.

    Args:
        path: Path of the file.

    Returns:
        Dictionary: `name`, `vqvae` with arguments of `HierarchicalVQVAE`, and
        perhaps `priors` with arguments of `PixelSNAILPrior` by level name.

    Raises:
        ValueError: If the file is not JSON or outside the schema.
    """
    with open(path, "rb") as file:
        text = file.read(MAX_FILE_BYTES + 1)
    if len(text) > MAX_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_FILE_BYTES} bytes.")
    try:
        config = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    check_config(config, path)
    return config


def check_config(config, source):
    """Raises ValueError unless `config` is inside the schema.

    Args:
        config: The parsed JSON.
        source: Where it is from, for the message.

    Raises:
        ValueError: If a key is missing or unknown, a value is out of bounds,
            or the model would have more than `MAX_PARAMETERS` weights.
    """
    required = ("format", "format_version", "model", "name", "vqvae")
    _check_keys(config, required, source, (*required, "priors"))
    if config["format"] != FORMAT:
        raise ValueError(
            f"{source}: `format` must be {FORMAT!r}. Received: "
            f"{reprlib.repr(config['format'])}"
        )
    if config["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"{source} has format version "
            f"{reprlib.repr(config['format_version'])}; this version of "
            f"keras-vqvae2 reads {FORMAT_VERSION}. Update keras-vqvae2."
        )
    if config["model"] != "vqvae2":
        raise ValueError(
            f"{source}: `model` must be 'vqvae2'. Received: "
            f"{reprlib.repr(config['model'])}"
        )
    if not is_name(config["name"]):
        raise ValueError(
            f"{source}: `name` must be up to 96 letters, digits, '.', '_' or "
            f"'-'. Received: {reprlib.repr(config['name'])}"
        )
    vqvae = config["vqvae"]
    _check_fields(vqvae, ("strides",), f"{source}, `vqvae`", _VQVAE_FIELDS)
    _check_count(num_parameters(**vqvae), MAX_PARAMETERS, source)
    priors = config.get("priors", {})
    levels = level_names(len(vqvae["strides"]))
    _check_keys(priors, (), f"{source}, `priors`", levels)
    for level, prior in priors.items():
        where = f"{source}, prior of {level}"
        _check_fields(prior, ("sizes",), where, _PRIOR_FIELDS)
        if len(prior["sizes"]) != levels.index(level) + 1:
            raise ValueError(
                f"{where}: `sizes` must be those of {levels.index(level)} "
                "coarser maps and of its own. Received: "
                f"{reprlib.repr(prior['sizes'])}"
            )
        _check_count(num_prior_parameters(**prior), MAX_PRIOR_PARAMETERS, where)


def _check_keys(mapping, required, source, known=None):
    known = required if known is None else known
    if not isinstance(mapping, dict):
        raise ValueError(
            f"{source} must be a JSON object. Received: {reprlib.repr(mapping)}"
        )
    missing = [key for key in required if key not in mapping]
    unknown = [key for key in mapping if key not in known]
    if missing or unknown:
        raise ValueError(
            f"{source} does not fit keras-vqvae2: missing keys "
            f"{reprlib.repr(missing)}, unknown keys {reprlib.repr(unknown)}."
        )


def _check_fields(mapping, required, source, fields):
    _check_keys(mapping, required, source, fields)
    for key, value in mapping.items():
        check, expected = fields[key]
        if not check(value):
            raise ValueError(
                f"{source}: `{key}` must be {expected}. Received: "
                f"{reprlib.repr(value)}"
            )


def _check_count(count, most, source):
    if count > most:
        raise ValueError(
            f"{source} describes a model of {count} parameters, more than the "
            f"{most} that are accepted."
        )


def is_name(name):
    """Whether `name` can be a model's name."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,96}", name) is not None
    )


def num_parameters(
    strides,
    hidden_dim=128,
    residual_dim=64,
    num_residual_blocks=2,
    num_embeddings=512,
    embedding_dim=64,
    num_channels=3,
    **_,
):
    """Number of a `HierarchicalVQVAE`'s weights, without building it.

    Takes the constructor's arguments. Counts what `model.safetensors` holds:
    convolutions, codebooks and their running counts and sums.
    """

    def conv(size, inputs, outputs):
        return size * size * inputs * outputs + outputs

    count = 0
    inputs = num_channels
    for level, stride in enumerate(strides):
        halvings = int(math.log2(stride))
        joined = embedding_dim * (len(strides) - level)
        residual = num_residual_blocks * (
            conv(3, hidden_dim, residual_dim)
            + conv(1, residual_dim, hidden_dim)
        )
        # Encoder.
        dims = [inputs, hidden_dim // 2] + [hidden_dim] * (halvings - 1)
        count += sum(conv(4, *dims[i : i + 2]) for i in range(halvings))
        count += conv(3, dims[-1], hidden_dim) + residual
        # Projection to the codebook's dimension, and the quantizer.
        coarser = embedding_dim * (level < len(strides) - 1)
        count += conv(1, hidden_dim + coarser, embedding_dim)
        count += 2 * num_embeddings * embedding_dim + num_embeddings + 1
        # Decoder, and upsampling of the quantized maps to the finer level.
        count += conv(3, joined, hidden_dim) + residual
        outputs = embedding_dim if level else num_channels
        dims = [hidden_dim] * (halvings - 1) + [hidden_dim // 2, outputs]
        dims = [hidden_dim, outputs] if halvings == 1 else dims
        count += sum(conv(4, *dims[i : i + 2]) for i in range(halvings))
        if level:
            count += halvings * conv(4, joined, joined)
        inputs = hidden_dim
    return count


def num_prior_parameters(
    sizes,
    num_embeddings=512,
    hidden_dim=512,
    residual_dim=2048,
    num_blocks=20,
    kernel_size=5,
    num_attention_layers=4,
    num_output_blocks=20,
    num_conditioning_blocks=0,
    num_classes=None,
    **_,
):
    """Number of a `PixelSNAILPrior`'s weights, without building it.

    Takes the constructor's arguments.
    """
    hidden, gates = hidden_dim, 2 * residual_dim
    height, width = sizes[-1]
    half = kernel_size // 2
    to_hidden = residual_dim * hidden + hidden
    count = num_embeddings * hidden + (height + width) * hidden
    for past in (half, *[half + 1] * (num_blocks - 1)):
        taps = past * kernel_size + past  # vertical and horizontal
        count += taps * hidden * gates + 2 * gates + hidden * gates
        count += 2 * to_hidden
    enters = 2 * gates * hidden * num_blocks
    if num_classes is not None:
        count += (num_classes + 1) * hidden + enters
    if len(sizes) > 1:
        count += (len(sizes) - 1) * num_embeddings * hidden + enters
        for coarse, fine in zip(sizes, sizes[1:], strict=False):
            doublings = (fine[0] // coarse[0]).bit_length() - 1
            count += doublings * (16 * hidden * hidden + hidden)
        count += num_conditioning_blocks * (
            9 * hidden * residual_dim + residual_dim + to_hidden
        )
    attention = hidden * hidden + hidden  # queries
    attention += 2 * hidden * 2 * hidden + 2 * hidden  # keys and values
    attention += (height + width) * 2 * hidden
    attention += hidden * hidden + hidden  # projection
    count += num_attention_layers * attention
    count += num_output_blocks * (
        hidden * residual_dim + residual_dim + to_hidden
    )
    return count + hidden * num_embeddings + num_embeddings

"""`config.json`: a closed schema for data that may come from anywhere."""

import json
import math
import re
import reprlib

FORMAT = "keras-vqvae2"
FORMAT_VERSION = 1

MAX_FILE_BYTES = 65536
# 1 GiB of float32. The paper's largest autoencoder has 4 million.
MAX_PARAMETERS = 2**28


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


def model_config(vqvae, name):
    """The content of `config.json` for a model.

    Args:
        vqvae: `HierarchicalVQVAE`.
        name: Name of the model, for people.

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
    check_config(config, f"The model {name!r}")
    return config


def read_config(path):
    """Reads and checks a `config.json`.

    Args:
        path: Path of the file.

    Returns:
        Dictionary: `name`, and `vqvae` with arguments of `HierarchicalVQVAE`.

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
    _check_keys(
        config, ("format", "format_version", "model", "name", "vqvae"), source
    )
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
    _check_keys(vqvae, ("strides",), f"{source}, `vqvae`", _VQVAE_FIELDS)
    for key, value in vqvae.items():
        check, expected = _VQVAE_FIELDS[key]
        if not check(value):
            raise ValueError(
                f"{source}: `{key}` must be {expected}. Received: "
                f"{reprlib.repr(value)}"
            )
    count = num_parameters(**vqvae)
    if count > MAX_PARAMETERS:
        raise ValueError(
            f"{source} describes a model of {count} parameters, more than the "
            f"{MAX_PARAMETERS} that are accepted."
        )


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

"""The files of a saved model, and the closed schema of its `config.json`.

A saved model is a folder:

- `config.json`: arguments of the models, `ModelConfig` below.
- `model.safetensors`: weights by stable names, see `keras_vqvae2.weights`.
- `prior_<level>.safetensors`: the same for each prior, if there are any.
- `context.safetensors`: the context model of code files, if there is one.
- `SHA256SUMS`: the hashes of these files.
- `README.md`: the model card.

A config may come from anywhere: it is data, and no code and no class name is
read from it.
"""

import dataclasses
import itertools
import json
import re
import reprlib

from keras_vqvae2.levels import level_names

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CONTEXT = "context.safetensors"
SUMS = "SHA256SUMS"
CARD = "README.md"

FORMAT = "keras-vqvae2"
FORMAT_VERSION = 1

MAX_FILE_BYTES = 65536
STRIDES = (2, 4, 8, 16, 32, 64)
# 1 GiB of float32. The paper's largest autoencoder has 4 million.
MAX_PARAMETERS = 2**28
# 8 GiB of float32: room for the paper's largest prior.
MAX_PRIOR_PARAMETERS = 2**31
# 512 MiB of float64, in which a context model is evaluated.
MAX_CONTEXT_PARAMETERS = 2**26


def prior_file(level):
    """Name of the file of a level's prior."""
    return f"prior_{level}.safetensors"


# Each argument is stated once, as a field: its bounds, how an error describes
# them, and its default. `huggingface_hub.dataclasses.strict` would check types
# as well, but in huggingface_hub 1.0 it takes True for an integer, knows no
# `int | None`, and its errors don't say what was expected.


def _field(fits, expected, default=dataclasses.MISSING):
    metadata = {"fits": fits, "expected": expected}
    return dataclasses.field(default=default, metadata=metadata)


def _integer(low, high, default, kind="", optional=False):
    """An integer in low..high; `kind` is "even", "odd" or neither."""

    def fits(value):
        if value is None:
            return optional
        if type(value) is not int or not low <= value <= high:
            return False
        return not kind or value % 2 == (kind == "odd")

    expected = f"an {kind} integer".replace("  ", " ")
    null = "null or " if optional else ""
    return _field(fits, f"{null}{expected} in {low}..{high}", default)


def _share(default):
    def fits(value):
        return type(value) in (int, float) and 0 <= value < 1

    return _field(fits, "at least 0 and below 1", default)


def _is_strides(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(s) is int and s in STRIDES for s in value)
    )


def _is_cost(value):
    return type(value) in (int, float) and 0 <= value <= 1e6


def _is_decay(value):
    return value is None or (type(value) is float and 0 < value < 1)


def _is_flag(value):
    return type(value) is bool


def _is_code_shapes(value):
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


def _is_hidden_dims(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(dim) is int and 1 <= dim <= 8192 for dim in value)
    )


class _Arguments:
    """Base class of arguments that are checked when they are set."""

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not field.metadata["fits"](value):
                raise ValueError(
                    f"`{field.name}` must be {field.metadata['expected']}. "
                    f"Received: {reprlib.repr(value)}"
                )

    @classmethod
    def from_model(cls, model_config):
        """Those of a model's `get_config`."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: model_config[name] for name in names})


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAEConfig(_Arguments):
    """Arguments of `HierarchicalVQVAE`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds.
    """

    strides: tuple = _field(
        _is_strides, "a list of 1 to 8 powers of two in 2..64"
    )
    hidden_dim: int = _integer(2, 8192, 128, "even")
    residual_dim: int = _integer(1, 8192, 64)
    num_residual_blocks: int = _integer(0, 32, 2)
    num_embeddings: int = _integer(1, 2**20, 512)
    embedding_dim: int = _integer(1, 8192, 64)
    commitment_cost: float = _field(_is_cost, "a number in 0..1e6", 0.25)
    decay: float | None = _field(
        _is_decay, "null or a number between 0 and 1", 0.99
    )
    dead_code_threshold: float = _share(0.05)
    num_channels: int = _integer(1, 1024, 3)
    seed: int = _integer(0, 2**31 - 1, 0)
    skip_relu: bool = _field(_is_flag, "true or false", False)

    def max_parameters(self):
        """An upper bound of the number of weights, for any of these models.

        Every convolution counts as 4x4 and as wide as the widest.
        """
        levels = len(self.strides)
        halvings = sum(stride.bit_length() - 1 for stride in self.strides)
        hidden, joined = self.hidden_dim, levels * self.embedding_dim
        widest = max(hidden, self.num_channels, self.embedding_dim)
        strided = 2 * halvings * 16 * hidden * widest
        strided += halvings * 17 * joined * joined
        residual = 2 * self.num_residual_blocks * 12 * hidden
        codebook = self.num_embeddings * (2 * self.embedding_dim + 1)
        others = 16 * hidden * (hidden + joined)
        return strided + levels * (
            residual * self.residual_dim + codebook + others
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PriorConfig(_Arguments):
    """Arguments of `PixelSNAILPrior`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds.
    """

    code_shapes: tuple = _field(
        _is_code_shapes, "a list of 1 to 8 pairs of integers in 1..1024"
    )
    num_embeddings: int = _integer(1, 2**20, 512)
    hidden_dim: int = _integer(2, 8192, 512, "even")
    residual_dim: int = _integer(1, 16384, 2048)
    num_blocks: int = _integer(1, 256, 20)
    kernel_size: int = _integer(3, 31, 5, "odd")
    num_attention_layers: int = _integer(0, 256, 4)
    num_heads: int = _integer(1, 256, 8)
    num_output_blocks: int = _integer(0, 256, 20)
    num_conditioning_blocks: int = _integer(0, 256, 0)
    dropout: float = _share(0.1)
    num_classes: int | None = _integer(1, 2**20, None, optional=True)
    class_dropout: float = _share(0.0)
    seed: int = _integer(0, 2**31 - 1, 0)

    def max_parameters(self):
        """An upper bound of the number of weights, for any of these models.

        As if each block were conditioned on classes and coarser maps.
        """
        hidden = self.hidden_dim
        # Gated blocks have kernels of half of kernel_size x kernel_size.
        blocks = self.num_blocks * ((self.kernel_size + 1) ** 2 + 16)
        blocks += 4 * self.num_output_blocks
        blocks += 12 * self.num_conditioning_blocks
        embedded = (len(self.code_shapes) + 2) * self.num_embeddings
        embedded += (self.num_classes or 0) + sum(self.code_shapes[-1]) + 1
        attention = 8 * hidden + 2 * sum(self.code_shapes[-1])
        # Sides are at most 2**10: so often a coarser map is doubled at most.
        upsampled = 17 * hidden * (10 if len(self.code_shapes) > 1 else 0)
        return hidden * (
            blocks * self.residual_dim
            + embedded
            + attention * self.num_attention_layers
            + upsampled
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContextConfig(_Arguments):
    """Sizes of `codec.ContextModel`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds.
    """

    num_neighbors: int = _integer(1, 64, 14)
    coarse_radius: int = _integer(0, 4, 1)
    embedding_dim: int = _integer(1, 1024, 64)
    coarse_dim: int = _integer(1, 8192, 256)
    hidden_dims: tuple = _field(
        _is_hidden_dims, "a list of 1 to 8 integers in 1..8192", (320, 256)
    )

    def max_parameters(self, vqvae):
        """An upper bound of the float64 numbers held while one is in use.

        Args:
            vqvae: `VQVAEConfig` of the model.
        """
        codes = vqvae.num_embeddings + 1
        first, last = self.hidden_dims[0], self.hidden_dims[-1]
        coarse = (2 * self.coarse_radius + 1) ** 2
        neighbors = self.num_neighbors * (codes + self.embedding_dim) * first
        coarser = coarse * (codes + self.embedding_dim) * self.coarse_dim
        places = max(vqvae.strides) ** 2
        others = 2 * codes * self.embedding_dim
        others += (self.coarse_dim + 1) * places * first
        for width, hidden_dim in itertools.pairwise(self.hidden_dims):
            others += (width + 1) * hidden_dim
        output = (last + 1) * codes
        return len(vqvae.strides) * (neighbors + coarser + others + output)


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What `config.json` says.

    Args:
        name: Name of the model, for people.
        vqvae: `VQVAEConfig`.
        priors: `PriorConfig` by level name.
        context: `ContextConfig` of the context model, or None.

    Raises:
        ValueError: If they do not fit together, or describe a model that is
            too large.
    """

    name: str
    vqvae: VQVAEConfig
    priors: dict = dataclasses.field(default_factory=dict)
    context: ContextConfig | None = None

    def __post_init__(self):
        if not is_name(self.name):
            raise ValueError(
                "`name` must be up to 96 letters, digits, '.', '_' or '-'. "
                f"Received: {reprlib.repr(self.name)}"
            )
        _check_size(self.vqvae.max_parameters(), MAX_PARAMETERS, "`vqvae`")
        levels = level_names(len(self.vqvae.strides))
        for level, prior in self.priors.items():
            where = f"prior of {level}"
            if len(prior.code_shapes) != levels.index(level) + 1:
                raise ValueError(
                    f"{where}: `code_shapes` must be those of "
                    f"{levels.index(level)} coarser maps and its own. "
                    "Received: "
                    f"{reprlib.repr(prior.code_shapes)}"
                )
            _check_size(prior.max_parameters(), MAX_PRIOR_PARAMETERS, where)
        if self.context is not None:
            _check_size(
                self.context.max_parameters(self.vqvae),
                MAX_CONTEXT_PARAMETERS,
                "`context`",
            )

    def to_json(self):
        """Text of `config.json`."""
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": "vqvae2",
            **dataclasses.asdict(self),
        }
        for key in ("priors", "context"):
            if not config[key]:
                del config[key]
        # Versions that do not know it read models without it.
        if not self.vqvae.skip_relu:
            del config["vqvae"]["skip_relu"]
        return json.dumps(config, indent=2) + "\n"


def read_config(path):
    """Reads and checks a `config.json`.

    Args:
        path: Path of the file.

    Returns:
        `ModelConfig`.

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
    return check_config(config, path)


def check_config(config, source):
    """The `ModelConfig` of parsed JSON.

    Args:
        config: The parsed JSON.
        source: Where it is from, for the message.

    Returns:
        `ModelConfig`.

    Raises:
        ValueError: If a key is missing or unknown, a value is out of bounds,
            or the model could have more than `MAX_PARAMETERS` weights.
    """
    required = ("format", "format_version", "model", "name", "vqvae")
    _check_keys(config, required, (*required, "priors", "context"), source)
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
    vqvae = _parse(VQVAEConfig, config["vqvae"], f"{source}, `vqvae`")
    priors = config.get("priors", {})
    levels = level_names(len(vqvae.strides))
    _check_keys(priors, (), levels, f"{source}, `priors`")
    priors = {
        level: _parse(PriorConfig, prior, f"{source}, prior of {level}")
        for level, prior in priors.items()
    }
    context = config.get("context")
    if context is not None:
        context = _parse(ContextConfig, context, f"{source}, `context`")
    try:
        return ModelConfig(config["name"], vqvae, priors, context)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _parse(schema, mapping, source):
    fields = dataclasses.fields(schema)
    required = [f.name for f in fields if f.default is dataclasses.MISSING]
    _check_keys(mapping, required, [f.name for f in fields], source)
    try:
        return schema(**mapping)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def _check_keys(mapping, required, known, source):
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


def _check_size(most, limit, where):
    if most > limit:
        raise ValueError(
            f"{where} describes a model of up to {most} parameters, more than "
            f"the {limit} that are accepted."
        )


def is_name(name):
    """Whether `name` can be a model's name."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,96}", name) is not None
    )

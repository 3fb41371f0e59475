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

from keras_vqvae2.arguments import CheckedArguments
from keras_vqvae2.arguments import argument
from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import flag
from keras_vqvae2.arguments import integer
from keras_vqvae2.arguments import number
from keras_vqvae2.arguments import share
from keras_vqvae2.arrays import parse_json
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


def _is_strides(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(s) is int and s in STRIDES for s in value)
    )


def _is_decay(value):
    return value is None or (type(value) is float and 0 < value < 1)


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


def _is_labels(value):
    return (
        isinstance(value, (list, tuple))
        and len(value) >= 1
        and all(isinstance(name, str) for name in value)
        and all(name.isprintable() and 1 <= len(name) <= 96 for name in value)
        and len(set(value)) == len(value)
        # The rest of `config.json` takes far less than a quarter of its bytes.
        and len(json.dumps(value, indent=4)) <= 3 * MAX_FILE_BYTES // 4
    )


def _is_hidden_dims(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(dim) is int and 1 <= dim <= 8192 for dim in value)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class VQVAEConfig(CheckedArguments):
    """Arguments of `HierarchicalVQVAE`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds, or the model could have
            more than `MAX_PARAMETERS` weights.
    """

    strides: tuple = argument(
        _is_strides, "a list of 1 to 8 powers of two in 2..64, such as (4, 2)"
    )
    hidden_dim: int = integer(2, 8192, 128, "even")
    residual_dim: int = integer(1, 8192, 64)
    num_residual_blocks: int = integer(0, 32, 2)
    num_embeddings: int = integer(1, 2**20, 512)
    embedding_dim: int = integer(1, 8192, 64)
    commitment_cost: float = number(0, 1e6, 0.25)
    decay: float | None = argument(
        _is_decay, "None or a number between 0 and 1", 0.99
    )
    dead_code_threshold: float = share(0.05)
    num_channels: int = integer(1, 1024, 3)
    seed: int = integer(0, 2**31 - 1, 0)
    skip_relu: bool = flag(False)

    def __post_init__(self):
        super().__post_init__()
        _check_size(self.max_parameters(), MAX_PARAMETERS)

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
class PriorConfig(CheckedArguments):
    """Arguments of `PixelSNAILPrior`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds, arguments do not fit
            together, or the prior could have more than
            `MAX_PRIOR_PARAMETERS` weights.
    """

    code_shapes: tuple = argument(
        _is_code_shapes, "a list of 1 to 8 pairs of integers in 1..1024"
    )
    num_embeddings: int = integer(1, 2**20, 512)
    hidden_dim: int = integer(2, 8192, 512, "even")
    residual_dim: int = integer(1, 16384, 2048)
    num_blocks: int = integer(1, 256, 20)
    kernel_size: int = integer(3, 31, 5, "odd")
    num_attention_layers: int = integer(0, 256, 4)
    num_heads: int = integer(1, 256, 8)
    num_output_blocks: int = integer(0, 256, 20)
    num_conditioning_blocks: int = integer(0, 256, 0)
    dropout: float = share(0.1)
    num_classes: int | None = integer(1, 2**20, None, optional=True)
    class_dropout: float = share(0.0)
    seed: int = integer(0, 2**31 - 1, 0)

    def __post_init__(self):
        super().__post_init__()
        if self.num_attention_layers > self.num_blocks:
            raise ValueError(
                f"{self.num_attention_layers} attention layers need as many "
                f"blocks. Received: num_blocks={self.num_blocks}"
            )
        if self.num_attention_layers and self.hidden_dim % self.num_heads:
            raise ValueError(
                "`hidden_dim` must be a multiple of `num_heads`. Received: "
                f"{self.hidden_dim} and {self.num_heads}"
            )
        if self.num_classes is None and self.class_dropout:
            raise ValueError("`class_dropout` needs `num_classes`.")
        _check_size(self.max_parameters(), MAX_PRIOR_PARAMETERS)

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
class ContextConfig(CheckedArguments):
    """Sizes of `codec.ContextModel`, as `config.json` holds them.

    Raises:
        ValueError: If an argument is out of bounds.
    """

    num_neighbors: int = integer(1, 64, 14)
    coarse_radius: int = integer(0, 4, 1)
    embedding_dim: int = integer(1, 1024, 64)
    coarse_dim: int = integer(1, 8192, 256)
    hidden_dims: tuple = argument(
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
        labels: Names of the classes, tuple of strings, or None.
        image_size: Height and width of the images that the model was trained
            on, or None.
        revision: 1 for the first weights of this name, 1 more for each that
            gives other codes.

    Raises:
        ValueError: If they do not fit together, or describe a model that is
            too large.
    """

    name: str
    vqvae: VQVAEConfig
    priors: dict = dataclasses.field(default_factory=dict)
    context: ContextConfig | None = None
    labels: tuple | None = None
    image_size: int | None = None
    revision: int = 1

    def __post_init__(self):
        check_integer("revision", self.revision, maximum=2**31 - 1)
        if self.labels is not None:
            if not _is_labels(self.labels):
                raise ValueError(
                    "`labels` must be a list of different names, each of 1 to "
                    "96 printable characters, 48 KiB in all. Received: "
                    f"{reprlib.repr(self.labels)}"
                )
            object.__setattr__(self, "labels", tuple(self.labels))
        if self.image_size is not None:
            check_integer("image_size", self.image_size, maximum=2**16)
        if not is_name(self.name):
            raise ValueError(
                "`name` must be up to 96 letters, digits, '.', '_' or '-'. "
                f"Received: {reprlib.repr(self.name)}"
            )
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
            if prior.num_embeddings != self.vqvae.num_embeddings:
                raise ValueError(
                    f"{where}: `num_embeddings` must be that of the codebooks, "
                    f"{self.vqvae.num_embeddings}. Received: "
                    f"{prior.num_embeddings}"
                )
            _check_ratios(prior.code_shapes, self.vqvae.strides, where)
            if self.labels is not None and prior.num_classes not in (
                None,
                len(self.labels),
            ):
                raise ValueError(
                    f"{where}: it has {prior.num_classes} classes, but "
                    f"`labels` names {len(self.labels)}."
                )
        if self.context is not None:
            _check_size(
                self.context.max_parameters(self.vqvae),
                MAX_CONTEXT_PARAMETERS,
                "`context` describes",
            )

    def to_json(self):
        """Text of `config.json`."""
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "model": "vqvae2",
            **dataclasses.asdict(self),
        }
        for key in ("priors", "context", "labels", "image_size"):
            if not config[key]:
                del config[key]
        # Versions that do not know them read models without them.
        if self.revision == 1:
            del config["revision"]
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
        config = parse_json(text)
    except ValueError as error:
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
    optional = ("priors", "context", "labels", "image_size", "revision")
    _check_keys(config, required, (*required, *optional), source)
    if config["format"] != FORMAT:
        raise ValueError(
            f"{source}: `format` must be {FORMAT!r}. Received: "
            f"{reprlib.repr(config['format'])}"
        )
    version = config["format_version"]
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(
            f"{source} has format version "
            f"{reprlib.repr(version)}; this version of "
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
        return ModelConfig(
            config["name"],
            vqvae,
            priors,
            context,
            config.get("labels"),
            config.get("image_size"),
            config.get("revision", 1),
        )
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


def _check_ratios(code_shapes, strides, where):
    # Strides are finest first: each code of a map covers `stride` codes of
    # the next one in height and width.
    for coarse, fine, stride in zip(
        code_shapes, code_shapes[1:], reversed(strides), strict=False
    ):
        if tuple(fine) != tuple(stride * side for side in coarse):
            raise ValueError(
                f"{where}: `code_shapes` must be those of the strides "
                f"{tuple(strides)}: a map of {coarse[0]}x{coarse[1]} codes "
                f"goes with one of {stride * coarse[0]}x{stride * coarse[1]}, "
                f"not {fine[0]}x{fine[1]}."
            )


def _check_size(most, limit, which="These arguments describe"):
    if most > limit:
        raise ValueError(
            f"{which} a model of up to {most} parameters, more than the "
            f"{limit} that are accepted."
        )


def is_name(name):
    """Whether `name` can be a model's name."""
    return (
        isinstance(name, str)
        and re.fullmatch(r"[A-Za-z0-9_.-]{1,96}", name) is not None
    )

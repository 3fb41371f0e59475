"""The closed schema of a saved model's `config.json`.

A config may come from anywhere: it is data, and no code and no class name is
read from it.
"""

import dataclasses
import json
import reprlib

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import check_size
from keras_vqvae2.arrays import parse_json
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.levels import level_names

FORMAT = "keras-vqvae2"
FORMAT_VERSION = 1

MAX_FILE_BYTES = 65536
# 512 MiB of float64, in which a context model is evaluated.
MAX_CONTEXT_PARAMETERS = 2**26


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
            check_size(
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

"""The table of presets, and the weights of them that came with the package."""

import dataclasses
import difflib
import os
import pathlib

from keras_vqvae2.hub.names import CONFIG
from keras_vqvae2.hub.names import WEIGHTS

DEFAULT_OWNER = "keras-vqvae2"
OWNER_VARIABLE = "KERAS_VQVAE2_OWNER"


@dataclasses.dataclass(frozen=True)
class Preset:
    """One row of the table.

    Args:
        description: One line for lists.
        vqvae: Arguments of `HierarchicalVQVAE`.
        num_parameters: Number of weights that these give.
        training_script: Path in the source repository of the script that
            trains the weights.
        priors: Arguments of `PixelSNAILPrior` by level name.
        sums_sha256: SHA-256 of the `SHA256SUMS` that this project published,
            which pins every file that it lists; None if it published nothing.
    """

    description: str
    vqvae: dict
    num_parameters: int
    training_script: str
    priors: dict = dataclasses.field(default_factory=dict)
    sums_sha256: str | None = None

    @property
    def published(self):
        """Whether this project has published weights."""
        return self.sums_sha256 is not None


# Table 5 of arXiv 1906.00446.
_PAPER_SIZES = {
    "hidden_dim": 128,
    "residual_dim": 64,
    "num_residual_blocks": 2,
    "num_embeddings": 512,
    "embedding_dim": 64,
    "commitment_cost": 0.25,
    "decay": 0.99,
}

# Tables 3 and 4. The middle prior has one attention layer, of a number of
# heads that the paper does not give.
_PAPER_PRIOR = {"num_embeddings": 512, "hidden_dim": 512, "kernel_size": 5}
_NO_ATTENTION = {"num_attention_layers": 0, "num_output_blocks": 0}
_TOP = {
    **_PAPER_PRIOR,
    "code_shapes": ((32, 32),),
    "residual_dim": 2048,
    "num_blocks": 20,
    "num_attention_layers": 4,
    "num_heads": 8,
}
_IMAGENET_PRIORS = {
    "top": {**_TOP, "num_output_blocks": 20, "dropout": 0.1},
    "bottom": {
        **_PAPER_PRIOR,
        **_NO_ATTENTION,
        "code_shapes": ((32, 32), (64, 64)),
        "residual_dim": 1024,
        "num_blocks": 20,
        "num_conditioning_blocks": 20,
        "dropout": 0.1,
    },
}
_FFHQ_PRIORS = {
    "top": {**_TOP, "num_output_blocks": 0, "dropout": 0.5},
    "middle": {
        **_PAPER_PRIOR,
        "code_shapes": ((32, 32), (64, 64)),
        "residual_dim": 1024,
        "num_blocks": 20,
        "num_attention_layers": 1,
        "num_heads": 8,
        "num_output_blocks": 0,
        "num_conditioning_blocks": 8,
        "dropout": 0.3,
    },
    "bottom": {
        **_PAPER_PRIOR,
        **_NO_ATTENTION,
        "code_shapes": ((32, 32), (64, 64), (128, 128)),
        "residual_dim": 1024,
        "num_blocks": 10,
        "num_conditioning_blocks": 8,
        "dropout": 0.25,
    },
}
for _prior in _IMAGENET_PRIORS.values():
    _prior["num_classes"] = 1000

# Not in the paper: as large as a few hours on a CPU can train.
_SMALL_PRIOR = {
    "hidden_dim": 128,
    "residual_dim": 128,
    "kernel_size": 3,
    "num_output_blocks": 1,
}
_SMALL_PRIORS = {
    "top": {
        **_SMALL_PRIOR,
        "code_shapes": ((8, 8),),
        "num_blocks": 8,
        "num_attention_layers": 4,
        "num_heads": 4,
    },
    "bottom": {
        **_SMALL_PRIOR,
        "code_shapes": ((8, 8), (16, 16)),
        "num_blocks": 6,
        "num_attention_layers": 0,
        "num_conditioning_blocks": 4,
    },
}

# Few codes, so that fewer of the priors' bits are noise.
_CIFAR10_SIZES = {**_PAPER_SIZES, "num_embeddings": 128}
_CIFAR10_PRIORS = {
    level: {
        **prior,
        "num_embeddings": 128,
        "num_classes": 10,
        "class_dropout": 0.1,
        "dropout": {"top": 0.15, "bottom": 0.05}[level],
    }
    for level, prior in _SMALL_PRIORS.items()
}
# Unconditional, and of few images: more dropout.
_FACES_PRIORS = {
    level: {
        **prior,
        "num_embeddings": 512,
        "num_classes": None,
        "dropout": 0.2,
    }
    for level, prior in _SMALL_PRIORS.items()
}

PRESETS = {
    "vqvae2-imagenet256": Preset(
        description="ImageNet at 256x256: 32x32 and 64x64 codes",
        vqvae={"strides": (4, 2), **_PAPER_SIZES},
        num_parameters=1_848_901,
        training_script="examples/train_photos256.py",
        priors=_IMAGENET_PRIORS,
        sums_sha256=(
            "b06becc2e3e5b7ec31eef034f0e1d6069ea80cf578fb526cfe8e33ef14e371b8"
        ),
    ),
    "vqvae2-cifar10": Preset(
        description="CIFAR-10 at 32x32: 8x8 and 16x16 codes, and new images",
        vqvae={"strides": (2, 2), **_CIFAR10_SIZES},
        num_parameters=1_416_837,
        training_script="examples/train_cifar10.py",
        priors=_CIFAR10_PRIORS,
        sums_sha256=(
            "5924afa12ea1d35f45ed1bf72180f79e8a6feba8c287213703157e333e0551c5"
        ),
    ),
    "vqvae2-faces64": Preset(
        description="Faces at 64x64: 8x8 and 16x16 codes, and new images",
        vqvae={"strides": (4, 2), **_PAPER_SIZES},
        num_parameters=1_848_901,
        training_script="examples/train_faces64.py",
        priors=_FACES_PRIORS,
        sums_sha256=(
            "030718e4c73f230040a232e840c1244a2c7d285cbd03a13be708a193a24f28b0"
        ),
    ),
    "vqvae2-ffhq1024": Preset(
        description="FFHQ at 1024x1024: 32x32, 64x64 and 128x128 codes",
        vqvae={"strides": (8, 2, 2), **_PAPER_SIZES},
        num_parameters=3_600_006,
        training_script="examples/train_ffhq1024.py",
        priors=_FFHQ_PRIORS,
    ),
}


@dataclasses.dataclass(frozen=True)
class PresetInfo:
    """What `list_presets` says about a preset.

    Args:
        name: Name of the preset.
        description: One line.
        num_parameters: Number of weights of the autoencoder.
        source: "bundled", "hub" or "unpublished".
        location: Folder, repository on the Hub, or training script.
        num_bytes: Size of the bundled weights, else None.
    """

    name: str
    description: str
    num_parameters: int
    source: str
    location: str
    num_bytes: int | None


def list_presets():
    """Presets and where their weights come from.

    Returns:
        List of `PresetInfo`.

    Example:

    ```python
    names = [preset.name for preset in keras_vqvae2.hub.list_presets()]
    assert "vqvae2-imagenet256" in names
    ```
    """
    bundled = bundled_weights()
    infos = []
    for name, preset in PRESETS.items():
        num_bytes = None
        if name in bundled:
            source, location = "bundled", str(bundled[name])
            num_bytes = sum(
                path.stat().st_size
                for path in bundled[name].glob("*.safetensors")
            )
        elif preset.published:
            source, location = "hub", f"{default_owner()}/{name}"
        else:
            source, location = "unpublished", find_script(preset)
        infos.append(
            PresetInfo(
                name=name,
                description=preset.description,
                num_parameters=preset.num_parameters,
                source=source,
                location=location,
                num_bytes=num_bytes,
            )
        )
    return infos


def find_preset(name):
    """The `Preset` of a name.

    Raises:
        ValueError: If there is none; the message names the closest one.
    """
    if name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(name, PRESETS, 1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"There is no preset {name!r}, nor a saved model.{hint} Presets: "
        f"{', '.join(PRESETS)}. A repository of the Hub is 'owner/name'."
    )


def default_owner():
    """Owner of the presets' repositories on the Hub.

    The environment variable `KERAS_VQVAE2_OWNER`, or `"keras-vqvae2"`.
    """
    return os.environ.get(OWNER_VARIABLE) or DEFAULT_OWNER


def find_script(preset):
    """Where a preset's training script lies.

    Inside an installed wheel, or its path in a source checkout.
    """
    path = pathlib.Path(__file__).resolve().parent.parent
    path /= preset.training_script
    return str(path) if path.is_file() else preset.training_script


def weights_folder():
    """Folder of the weights that came with the package, None if without.

    Inside an installed wheel, or beside the package in a source checkout.
    """
    package = pathlib.Path(__file__).resolve().parent.parent
    if (package / "weights").is_dir():
        return package / "weights"
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file():
        if (checkout / "weights").is_dir():
            return checkout / "weights"
    return None


def bundled_weights():
    """Folders of the models that came with the package, by name."""
    root = weights_folder()
    if root is None:
        return {}
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()
    }

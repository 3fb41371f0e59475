"""The table of presets: models this project names and, mostly, trained."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Preset:
    """One row of the table.

    Args:
        description: One line for lists.
        vqvae: Arguments of `HierarchicalVQVAE`.
        published: Whether this project has published weights.
        training_script: Path in the source repository of the script that
            trains the weights.
        weights_sha256: SHA-256 of the published `model.safetensors`, which a
            download of the project's own repository must have.
    """

    description: str
    vqvae: dict
    published: bool
    training_script: str
    weights_sha256: str | None = None


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

PRESETS = {
    "vqvae2-imagenet256": Preset(
        description="ImageNet at 256x256: 32x32 and 64x64 codes",
        vqvae={"strides": (4, 2), **_PAPER_SIZES},
        published=True,
        training_script="examples/train_vqvae.py",
        weights_sha256=(
            "625d8ed402af627314abe1a46dc2b73015513efdd292ac5130476975569fea60"
        ),
    ),
    "vqvae2-ffhq1024": Preset(
        description="FFHQ at 1024x1024: 32x32, 64x64 and 128x128 codes",
        vqvae={"strides": (8, 2, 2), **_PAPER_SIZES},
        published=False,
        training_script="examples/train_vqvae.py",
    ),
}

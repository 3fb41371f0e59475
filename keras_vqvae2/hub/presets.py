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
        priors: Arguments of `PixelSNAILPrior` by level name.
        sums_sha256: SHA-256 that the published `SHA256SUMS` must have in a
            download of the project's own repository; so all that it lists is
            pinned.
    """

    description: str
    vqvae: dict
    published: bool
    training_script: str
    priors: dict = dataclasses.field(default_factory=dict)
    sums_sha256: str | None = None


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
    "sizes": ((32, 32),),
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
        "sizes": ((32, 32), (64, 64)),
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
        "sizes": ((32, 32), (64, 64)),
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
        "sizes": ((32, 32), (64, 64), (128, 128)),
        "residual_dim": 1024,
        "num_blocks": 10,
        "num_conditioning_blocks": 8,
        "dropout": 0.25,
    },
}
for _prior in _IMAGENET_PRIORS.values():
    _prior["num_classes"] = 1000

# Not in the paper: as large as a few hours on a CPU can train.
_CIFAR10_PRIOR = {
    "num_embeddings": 512,
    "hidden_dim": 128,
    "residual_dim": 128,
    "kernel_size": 3,
    "num_output_blocks": 1,
    "num_classes": 10,
    "class_dropout": 0.1,
}
_CIFAR10_PRIORS = {
    "top": {
        **_CIFAR10_PRIOR,
        "sizes": ((8, 8),),
        "num_blocks": 8,
        "num_attention_layers": 4,
        "num_heads": 4,
        "dropout": 0.1,
    },
    "bottom": {
        **_CIFAR10_PRIOR,
        "sizes": ((8, 8), (16, 16)),
        "num_blocks": 6,
        "num_attention_layers": 0,
        "num_conditioning_blocks": 4,
        "dropout": 0.05,
    },
}

PRESETS = {
    "vqvae2-imagenet256": Preset(
        description="ImageNet at 256x256: 32x32 and 64x64 codes",
        vqvae={"strides": (4, 2), **_PAPER_SIZES},
        published=True,
        training_script="examples/train_vqvae.py",
        priors=_IMAGENET_PRIORS,
        sums_sha256=(
            "9fd1238a462f83ad060d755c68569f414e7df37ec902de68a60eb00a2b55a187"
        ),
    ),
    "vqvae2-cifar10": Preset(
        description="CIFAR-10 at 32x32: 8x8 and 16x16 codes, and new images",
        vqvae={"strides": (2, 2), **_PAPER_SIZES},
        published=True,
        training_script="examples/two_stage.py",
        priors=_CIFAR10_PRIORS,
        sums_sha256=(
            "77e22bd70dd9b31b6f37b33f5712635c9a3045d8891b23d9d4435245e4752f02"
        ),
    ),
    "vqvae2-ffhq1024": Preset(
        description="FFHQ at 1024x1024: 32x32, 64x64 and 128x128 codes",
        vqvae={"strides": (8, 2, 2), **_PAPER_SIZES},
        published=False,
        training_script="examples/train_ffhq1024.py",
        priors=_FFHQ_PRIORS,
    ),
}

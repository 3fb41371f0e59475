import dataclasses

from keras_vqvae2.arguments import CheckedArguments
from keras_vqvae2.arguments import argument
from keras_vqvae2.arguments import check_size
from keras_vqvae2.arguments import integer
from keras_vqvae2.arguments import share

# 8 GiB of float32: room for the paper's largest prior.
MAX_PRIOR_PARAMETERS = 2**31


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
        check_size(self.max_parameters(), MAX_PRIOR_PARAMETERS)

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

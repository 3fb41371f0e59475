import dataclasses

from keras_vqvae2.arguments import CheckedArguments
from keras_vqvae2.arguments import argument
from keras_vqvae2.arguments import check_size
from keras_vqvae2.arguments import flag
from keras_vqvae2.arguments import integer
from keras_vqvae2.arguments import number
from keras_vqvae2.arguments import share

STRIDES = (2, 4, 8, 16, 32, 64)
# 1 GiB of float32. The paper's largest autoencoder has 4 million.
MAX_PARAMETERS = 2**28


def _is_strides(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(s) is int and s in STRIDES for s in value)
    )


def _is_decay(value):
    return value is None or (type(value) is float and 0 < value < 1)


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
        check_size(self.max_parameters(), MAX_PARAMETERS)

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

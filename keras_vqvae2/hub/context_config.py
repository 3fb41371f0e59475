import dataclasses
import itertools

from keras_vqvae2.arguments import CheckedArguments
from keras_vqvae2.arguments import argument
from keras_vqvae2.arguments import integer


def _is_hidden_dims(value):
    return (
        isinstance(value, (list, tuple))
        and 1 <= len(value) <= 8
        and all(type(dim) is int and 1 <= dim <= 8192 for dim in value)
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

    def __post_init__(self):
        super().__post_init__()
        # JSON has lists; equal sizes are to be equal configs.
        object.__setattr__(self, "hidden_dims", tuple(self.hidden_dims))

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

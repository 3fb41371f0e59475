"""Names, dtypes and shapes of the weights of a saved model, by its config.

So that a file is compared with its config before anything is built: a config
of a few bytes can describe a model of gigabytes. Tests compare these with the
models of `keras_vqvae2.models`.
"""

import math

from keras_vqvae2.levels import level_names


def vqvae_types(config):
    """Dtype and shape of each weight of a `HierarchicalVQVAE` by name.

    Args:
        config: `VQVAEConfig`.

    Example:

    ```python
    config = keras_vqvae2.hub.vqvae_config.VQVAEConfig(strides=(4, 2))
    types = vqvae_types(config)
    assert types["projection_top/bias"] == ("float32", (64,))
    ```
    """
    shapes = {}
    hidden_dim, embedding_dim = config.hidden_dim, config.embedding_dim
    # Finest first, as `strides`.
    names = level_names(len(config.strides))[::-1]
    for i, (name, stride) in enumerate(zip(names, config.strides, strict=True)):
        halvings = stride.bit_length() - 1
        coarsest, finest = i == len(names) - 1, i == 0
        encoder, decoder = f"encoder_{name}", f"decoder_{name}"
        joined_dim = embedding_dim * (len(names) - i)
        output_dim = config.num_channels if finest else embedding_dim

        channels = config.num_channels if finest else hidden_dim
        for j in range(halvings):
            filters = hidden_dim if j else hidden_dim // 2
            shapes |= _conv(
                f"{encoder}/downsample_{j}", (4, 4), channels, filters
            )
            channels = filters
        shapes |= _conv(f"{encoder}/conv", (3, 3), channels, hidden_dim)
        shapes |= _conv(f"{decoder}/conv", (3, 3), joined_dim, hidden_dim)
        for stack in (encoder, decoder):
            shapes |= _residual_stack(
                f"{stack}/residual_stack",
                config.num_residual_blocks,
                hidden_dim,
                config.residual_dim,
            )
        channels = hidden_dim
        widths = [hidden_dim] * (halvings - 2) + [hidden_dim // 2, output_dim]
        for j, filters in enumerate(widths[-halvings:]):
            shapes |= _transposed(f"{decoder}/upsample_{j}", channels, filters)
            channels = filters
        if not finest:
            # Brings its codes to the next finer map.
            for j in range(halvings):
                shapes |= _transposed(
                    f"upsample_{name}_{j}", joined_dim, joined_dim
                )
        channels = hidden_dim + (0 if coarsest else embedding_dim)
        shapes |= _conv(f"projection_{name}", (1, 1), channels, embedding_dim)
        codebook = (config.num_embeddings, embedding_dim)
        state = "offsets" if config.decay is None else "sums"
        shapes |= {
            f"quantizer_{name}/embeddings": codebook,
            f"quantizer_{name}/{state}": codebook,
            f"quantizer_{name}/counts": codebook[:1],
            f"quantizer_{name}/initialized": (),
        }
    return _float32(shapes)


def prior_types(config):
    """Dtype and shape of each weight of a `PixelSNAILPrior` by name.

    Args:
        config: `PriorConfig`.
    """
    hidden_dim, residual_dim = config.hidden_dim, config.residual_dim
    height, width = config.code_shapes[-1]
    shapes = {
        "code_embedding/embeddings": (config.num_embeddings, hidden_dim),
        "row_embedding/embeddings": (height, hidden_dim),
        "column_embedding/embeddings": (width, hidden_dim),
        **_dense("logits", hidden_dim, config.num_embeddings),
    }
    if config.num_classes is not None:
        shapes["class_embedding/embeddings"] = (
            config.num_classes + 1,
            hidden_dim,
        )
    gates, half = 2 * residual_dim, config.kernel_size // 2
    for i in range(config.num_blocks):
        block, past = f"block_{i}", half + (i > 0)
        kernel_sizes = {
            "vertical": (past, config.kernel_size),
            "horizontal": (1, past),
        }
        for stack, kernel_size in kernel_sizes.items():
            shapes |= _conv(
                f"{block}/{stack}_conv", kernel_size, hidden_dim, gates
            )
            shapes |= _conv(
                f"{block}/{stack}_projection", (1, 1), residual_dim, hidden_dim
            )
        shapes[f"{block}/vertical_to_horizontal/kernel"] = (
            *(1, 1, hidden_dim),
            gates,
        )
        if config.num_classes is not None:
            shapes[f"{block}/class_projection/kernel"] = (hidden_dim, 2 * gates)
        if len(config.code_shapes) > 1:
            shapes[f"{block}/condition_projection/kernel"] = (
                *(1, 1, hidden_dim),
                2 * gates,
            )
    for i in range(config.num_attention_layers):
        attention = f"attention_{i}"
        shapes[f"{attention}/row_embedding"] = (height, 1, 2 * hidden_dim)
        shapes[f"{attention}/column_embedding"] = (1, width, 2 * hidden_dim)
        shapes |= _dense(f"{attention}/query", hidden_dim, hidden_dim)
        shapes |= _dense(
            f"{attention}/key_value", 2 * hidden_dim, 2 * hidden_dim
        )
        shapes |= _dense(f"attention_projection_{i}", hidden_dim, hidden_dim)
    for i in range(config.num_output_blocks):
        shapes |= _dense(f"output_{i}_residual", hidden_dim, residual_dim)
        shapes |= _dense(f"output_{i}_hidden", residual_dim, hidden_dim)
    pairs = list(zip(config.code_shapes, config.code_shapes[1:], strict=False))
    for i, (coarse, fine) in enumerate(pairs):
        shapes[f"condition_embedding_{i}/embeddings"] = (
            config.num_embeddings,
            hidden_dim,
        )
        for j in range((fine[0] // coarse[0]).bit_length() - 1):
            shapes |= _transposed(
                f"condition_upsample_{i}_{j}", hidden_dim, hidden_dim
            )
    if pairs:
        shapes |= _residual_stack(
            "condition_stack",
            config.num_conditioning_blocks,
            hidden_dim,
            residual_dim,
        )
    return _float32(shapes)


def num_parameters(types):
    """Number of weights in all."""
    return sum(math.prod(shape) for _, shape in types.values())


def _float32(shapes):
    return {name: ("float32", shape) for name, shape in shapes.items()}


def _conv(name, kernel_size, channels, filters):
    kernel = (*kernel_size, channels, filters)
    return {f"{name}/kernel": kernel, f"{name}/bias": (filters,)}


def _transposed(name, channels, filters):
    kernel = (4, 4, filters, channels)
    return {f"{name}/kernel": kernel, f"{name}/bias": (filters,)}


def _dense(name, channels, units):
    return _conv(name, (), channels, units)


def _residual_stack(name, num_blocks, channels, residual_dim):
    shapes = {}
    for i in range(num_blocks):
        block = f"{name}/block_{i}"
        shapes |= _conv(f"{block}_conv3", (3, 3), channels, residual_dim)
        shapes |= _conv(f"{block}_conv1", (1, 1), residual_dim, channels)
    return shapes

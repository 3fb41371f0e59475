"""Names and sizes of the tensors of rosinality/vq-vae-2-pytorch."""

import re

from keras_vqvae2.layers.encoder import num_halvings


def is_rosinality(shapes):
    """Whether names are those of that library's `VQVAE`."""
    return "quantize_t.embed" in shapes


def model_arguments(shapes):
    """Arguments of `HierarchicalVQVAE`.

    Args:
        shapes: Shape of each tensor, by name.

    Returns:
        Dict. Sizes that cannot be seen have their defaults.

    Raises:
        ValueError: If a tensor that tells a size is missing or has another
            number of axes.
    """

    def size(name, axis, ndim):
        shape = shapes.get(name, ())
        if len(shape) != ndim:
            raise ValueError(
                f"it must have a tensor {name} of {ndim} axes. Received: "
                f"{tuple(shape) if name in shapes else 'none'}"
            )
        return int(shape[axis])

    def count(pattern):
        return sum(re.fullmatch(pattern, name) is not None for name in shapes)

    # One 3x3 convolution follows those that halve.
    strides = tuple(
        2 ** (count(rf"{encoder}\.blocks\.\d+\.weight") - 1)
        for encoder in ("enc_b", "enc_t")
    )
    blocks = r"(enc_b\.blocks\.\d+\.conv\.1)\.weight"
    arguments = {
        "strides": strides,
        "hidden_dim": size("quantize_conv_t.weight", 1, 4),
        "num_residual_blocks": count(blocks),
        "num_embeddings": size("quantize_t.embed", 1, 2),
        "embedding_dim": size("quantize_t.embed", 0, 2),
        "num_channels": size("enc_b.blocks.0.weight", 1, 4),
    }
    for name in shapes:
        if re.fullmatch(blocks, name):
            arguments["residual_dim"] = size(name, 0, 4)
    return arguments


def weight_names(strides, num_residual_blocks):
    """Name of a weight of `HierarchicalVQVAE` by the name of each tensor."""
    names = {}

    def layer(theirs, ours):
        names[f"{theirs}.weight"] = f"{ours}/kernel"
        names[f"{theirs}.bias"] = f"{ours}/bias"

    def residual_stack(theirs, ours, first):
        for i in range(num_residual_blocks):
            block = f"{ours}/residual_stack/block_{i}"
            layer(f"{theirs}.{first + i}.conv.1", f"{block}_conv3")
            layer(f"{theirs}.{first + i}.conv.3", f"{block}_conv1")

    bottom, top = strides
    for suffix, level, encoder, decoder, stride in (
        ("b", "bottom", "enc_b.blocks", "dec.blocks", bottom),
        ("t", "top", "enc_t.blocks", "dec_t.blocks", top),
    ):
        # ReLUs are counted as well: one after each convolution that halves,
        # after each but the last that doubles, and after the residual blocks.
        halvings = num_halvings(stride)
        for i in range(halvings):
            layer(f"{encoder}.{2 * i}", f"encoder_{level}/downsample_{i}")
        layer(f"{encoder}.{2 * halvings}", f"encoder_{level}/conv")
        residual_stack(encoder, f"encoder_{level}", 2 * halvings + 1)
        layer(f"quantize_conv_{suffix}", f"projection_{level}")
        for theirs, ours in (
            ("embed", "embeddings"),
            ("cluster_size", "counts"),
            ("embed_avg", "sums"),
        ):
            names[f"quantize_{suffix}.{theirs}"] = f"quantizer_{level}/{ours}"
        layer(f"{decoder}.0", f"decoder_{level}/conv")
        residual_stack(decoder, f"decoder_{level}", 1)
        first = num_residual_blocks + 2
        for i in range(halvings):
            layer(f"{decoder}.{first + 2 * i}", f"decoder_{level}/upsample_{i}")
    # For each other halving of the top level, theirs would have another name.
    layer("upsample_t", "upsample_top_0")
    return names

from keras_vqvae2.data import read_code_shards


def read_model_codes(model, folder):
    """Code maps of a folder, if a model of these levels made them.

    Args:
        model: `VQVAE2`.
        folder: Folder written by `write_code_shards`.

    Returns:
        Tuple `(codes, labels)` as of `read_code_shards`.

    Raises:
        ValueError: If the codes have other levels or embeddings.
    """
    codes, labels, index = read_code_shards(folder)
    if (tuple(codes), index["num_embeddings"]) != (
        model.vqvae.level_names,
        model.vqvae.num_embeddings,
    ):
        raise ValueError(
            f"{folder} has codes of {index['num_embeddings']} embeddings and "
            f"the levels {', '.join(codes)}; they are not of this model."
        )
    return codes, labels

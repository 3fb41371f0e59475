from keras_vqvae2.arrays import arrays_digest
from keras_vqvae2.compression import identifying_arrays
from keras_vqvae2.data import read_code_shards


def weights_digest(model):
    """Hexadecimal SHA-256 of the weights of a `VQVAE2`'s autoencoder."""
    return arrays_digest(identifying_arrays(model.vqvae)).hex()


def read_model_codes(model, folder):
    """Code maps of a folder, if this model made them.

    Args:
        model: `VQVAE2`.
        folder: Folder written by `write_code_shards`.

    Returns:
        Tuple `(codes, labels, names)`: the first two as of `read_code_shards`,
        the names of the classes or None.

    Raises:
        FileNotFoundError: If the folder has no complete set of codes.
        ValueError: If a shard is damaged, or the codes are of another model:
            they have other levels or embeddings, or say that they were made
            by other weights. Older codes do not say.
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
    made_by = index.get("source", {}).get("weights")
    if made_by not in (None, weights_digest(model)):
        raise ValueError(
            f"{folder} has codes that were made by other weights than those "
            "of this model: extract them again, with this model."
        )
    return codes, labels, index.get("source", {}).get("label_names")

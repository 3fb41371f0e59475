"""Files of codes: what `keras-vqvae2 encode` writes and `decode` reads."""

import json

import numpy as np
import safetensors
import safetensors.numpy

from keras_vqvae2.files import atomic_path

_FORMAT = "keras-vqvae2 codes 1"
_MAX_BITS = 16
_MAX_SIDE = 2**16


def save_codes(path, codes, *, num_embeddings, image_size, model):
    """Writes the codes of one image to a small self-describing file.

    Each code takes `ceil(log2(num_embeddings))` bits; a header of a few
    hundred bytes says how to read them. The file is a safetensors file.

    Args:
        path: Path of the file; it is replaced atomically.
        codes: Sequence of integer arrays `(height_i, width_i)`, coarse to
            fine, `0 <= code < num_embeddings`.
        num_embeddings: Codebook entries of each level, at most 65536.
        image_size: `(height, width)` of the image, before padding.
        model: Name or path of the model that made the codes.

    Raises:
        ValueError: If a code is out of range.

    Example:

    ```python
    codes = [np.zeros((2, 3), "int32"), np.ones((4, 6), "int32")]
    path = folder / "image.codes"
    keras_vqvae2.save_codes(
        path, codes, num_embeddings=512, image_size=(16, 24), model="mine"
    )
    loaded, header = keras_vqvae2.load_codes(path)
    assert (loaded[1] == 1).all() and header["image_size"] == [16, 24]
    ```
    """
    bits = _bits(num_embeddings)
    arrays, shapes = {}, []
    for i, level in enumerate(codes):
        level = np.asarray(level)
        if level.min() < 0 or level.max() >= num_embeddings:
            raise ValueError(
                f"Codes must be in 0..{num_embeddings - 1}. Map {i} has "
                f"values from {level.min()} to {level.max()}."
            )
        shapes.append(list(level.shape))
        planes = (level.reshape(-1, 1) >> np.arange(bits)) & 1  # (N, bits)
        arrays[f"level_{i}"] = np.packbits(planes.astype("uint8"))
    header = {
        "format": _FORMAT,
        "model": str(model),
        "num_embeddings": num_embeddings,
        "image_size": [int(size) for size in image_size],
        "shapes": shapes,
    }
    with atomic_path(path) as temporary:
        safetensors.numpy.save_file(
            arrays, temporary, metadata={"header": json.dumps(header)}
        )


def load_codes(path):
    """Reads a file of codes.

    Args:
        path: Path of a file that `save_codes` wrote.

    Returns:
        Tuple `(codes, header)`: a tuple of int32 arrays `(height_i, width_i)`,
        coarse to fine, and a dict with the keys `model`, `num_embeddings`,
        `image_size` and `shapes`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of another kind.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("header", "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a whole file of codes: {error}") from (
            error
        )
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"{path} is not a file of codes.")
    try:
        return _unpack(arrays, header), header
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is a damaged file of codes: {error}"
        ) from error


def _unpack(arrays, header):
    num_embeddings = header["num_embeddings"]
    bits = _bits(num_embeddings)
    sides = [header["image_size"], *header["shapes"]]
    if any(
        len(side) != 2
        or any(not isinstance(s, int) or not 0 < s <= _MAX_SIDE for s in side)
        for side in sides
    ):
        raise ValueError(f"sizes {sides}")
    codes = []
    for i, (height, width) in enumerate(header["shapes"]):
        packed = arrays[f"level_{i}"]
        count = height * width
        if packed.dtype != np.uint8 or packed.shape != (-(-count * bits // 8),):
            raise ValueError(f"map {i} is {packed.dtype} {packed.shape}")
        planes = np.unpackbits(packed, count=count * bits).reshape(-1, bits)
        level = planes.astype("int32") @ (1 << np.arange(bits, dtype="int32"))
        if level.max() >= num_embeddings:
            raise ValueError(f"map {i} has a code {level.max()}")
        codes.append(level.reshape(height, width))
    return tuple(codes)


def _bits(num_embeddings):
    if (
        not isinstance(num_embeddings, int)
        or not 1 <= num_embeddings <= 2**_MAX_BITS
    ):
        raise ValueError(
            f"`num_embeddings` must be 1 to {2**_MAX_BITS}. Received: "
            f"{num_embeddings!r}"
        )
    return max(1, (num_embeddings - 1).bit_length())

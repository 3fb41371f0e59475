"""Code files of the versions before `docs/format.md`: safetensors files."""

import reprlib

import numpy as np

from keras_vqvae2.arrays import parse_arrays_and_metadata
from keras_vqvae2.arrays import parse_json
from keras_vqvae2.codec.header import MAGIC
from keras_vqvae2.codec.header import CodeHeader
from keras_vqvae2.codec.header import code_shapes
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.vqvae_config import STRIDES

_FORMAT = "keras-vqvae2 codes 1"


def is_code_file(data):
    """Whether bytes begin as a safetensors file does."""
    return data[8:9] == b"{" and data[: len(MAGIC)] != MAGIC


def read_codes(data, name):
    """The codes of an older code file.

    Args:
        data: Bytes of the file.
        name: Name of the file, for errors.

    Returns:
        Tuple `(codes, header)` as from `codec.read_codes`. The header has
        neither a fingerprint nor checksums: these files have none.

    Raises:
        ValueError: If the file is damaged or of another kind.
    """
    try:
        arrays, metadata = parse_arrays_and_metadata(data)
        header = parse_json(metadata.get("header", "null"))
    except ValueError as error:
        raise ValueError(f"{name} is not a whole code file: {error}") from error
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"{name} is not a code file.")
    try:
        return _unpack(arrays, header)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name} is a damaged code file: {error}") from error


def _unpack(arrays, header):
    num_embeddings = _integer(header["num_embeddings"])
    image_size = tuple(map(_integer, header["image_size"]))
    shapes = tuple(
        tuple(map(_integer, (height, width)))
        for height, width in header["shapes"]
    )
    code_header = CodeHeader(
        method="raw",
        model=_name(str(header["model"])),
        fingerprint=b"",
        image_size=image_size,
        strides=_strides(image_size, shapes),
        num_embeddings=num_embeddings,
        checksums=(),
    )
    bits = max(1, (num_embeddings - 1).bit_length())
    codes = []
    for i, (height, width) in enumerate(shapes):
        packed = arrays[f"level_{i}"]
        count = height * width
        if packed.dtype != np.uint8 or packed.shape != (-(-count * bits // 8),):
            raise ValueError(f"map {i} is {packed.dtype} {packed.shape}")
        planes = np.unpackbits(packed, count=count * bits).reshape(-1, bits)
        level = planes.astype("int32") @ (1 << np.arange(bits, dtype="int32"))
        if level.max() >= num_embeddings:
            raise ValueError(f"map {i} has a code {level.max()}")
        codes.append(level.reshape(height, width))
    return tuple(codes), code_header


def _strides(image_size, shapes):
    """Strides, finest first, that give maps of these shapes."""
    finer = shapes[::-1]
    ratios = tuple(
        fine[0] // coarse[0]
        for fine, coarse in zip(finer[:-1], finer[1:], strict=True)
    )
    for stride in STRIDES:
        strides = (stride, *ratios)
        if code_shapes(image_size, strides) == shapes:
            return strides
    raise ValueError(f"maps of {shapes} don't fit an image of {image_size}")


def _name(model):
    """Name of a model that was given by name, path or repository."""
    name = model.rstrip("/").split("/")[-1]
    return name if is_name(name) else "unknown"


def _integer(value):
    if type(value) is not int or not 0 < value <= 2**16:
        raise ValueError(f"there is a size {reprlib.repr(value)}")
    return value

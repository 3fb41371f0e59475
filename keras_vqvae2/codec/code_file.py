"""Code files: the codes of one image, stored losslessly.

Section 3.2 of VQ-VAE-2, arXiv 1906.00446: codes compressed under a learned
prior. `docs/format.md` has the bytes.
"""

import operator
import os
import zlib

import numpy as np

from keras_vqvae2.codec import header as header_module
from keras_vqvae2.codec import safetensors_codes
from keras_vqvae2.codec.code_model import CodeModel
from keras_vqvae2.codec.header import METHODS
from keras_vqvae2.codec.header import CodeHeader
from keras_vqvae2.codec.header import code_shapes
from keras_vqvae2.codec.range_coder import RangeDecoder
from keras_vqvae2.codec.range_coder import RangeEncoder
from keras_vqvae2.files import open_regular
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.hub.presets import bundled_weights

# Codes that become bits at a time: their bits end with a byte.
_PART = 2**16


def write_codes(codes, image_size, model, method=None):
    """The bytes of a code file.

    Args:
        codes: Sequence of integer arrays `(height_i, width_i)`, coarse to
            fine: the codes of one image.
        image_size: `(height, width)` of the image, before padding.
        model: `CodeModel` of the model that made the codes.
        method: "raw": a whole number of bits for each code. "histogram":
            frequent codes take fewer bits. "context": the bits of a code
            depend on the codes around it. None takes the smallest that the
            model has.

    Returns:
        Bytes.

    Raises:
        ValueError: If the codes don't fit the model or the image, or the
            model has nothing for this method.

    Example:

    ```python
    model = keras_vqvae2.codec.CodeModel.from_pretrained("vqvae2-imagenet256")
    codes = [np.zeros((2, 3), "int32"), np.ones((4, 6), "int32")]
    data = keras_vqvae2.codec.write_codes(codes, (16, 24), model)
    loaded, header = keras_vqvae2.codec.read_codes(data)
    assert (loaded[1] == 1).all() and header.image_size == (16, 24)
    ```
    """
    if method is not None and method not in METHODS:
        raise ValueError(
            f"`method` must be one of {', '.join(METHODS)}, or None. "
            f"Received: {method!r}"
        )
    if method is not None and method not in model.methods:
        raise ValueError(
            f"{model.name} has nothing to code by the method {method!r}. It "
            f"has: {', '.join(model.methods)}."
        )
    codes = _checked(codes, image_size, model)
    methods = model.methods if method is None else (method,)
    files = [_write(codes, image_size, model, method) for method in methods]
    return min(files, key=len)


def read_codes(source, model=None):
    """The codes of a code file, or of a file of older versions.

    Args:
        source: Path of the file, or its bytes.
        model: Name, folder or repository of the model that made the codes, or
            a `CodeModel`. None takes the preset of the name that the file
            gives. Files by the method "raw" can be read without.

    Returns:
        Tuple `(codes, header)`: a tuple of int32 arrays `(height_i,
        width_i)`, coarse to fine, and a `CodeHeader`.

    Raises:
        FileNotFoundError: If there is no such file, or the model is not found.
        ValueError: If the file is damaged, of another kind, or was made by
            another model.
    """
    data, name = _read(source)
    if safetensors_codes.is_code_file(data):
        codes, header = safetensors_codes.read_codes(data, name)
        if isinstance(model, CodeModel):
            _check_sizes(header, model, name)
        return codes, header
    header, payload = _parse(data, name)
    if header.method == "raw" and model is None:
        codes = _guarded(name, _unpack, payload, header)
    else:
        if model is None:
            model = find_model_name(header, source)
        if not isinstance(model, CodeModel):
            model = CodeModel.from_pretrained(model)
        _check_model(header, model, name)
        codes = _guarded(name, _decode, payload, header, model)
    checksums = tuple(map(_checksum, codes))
    if checksums != header.checksums:
        raise ValueError(
            f"{name} cannot be decoded: the codes are not those that were "
            "encoded. Either it was made by other software, or this "
            "computer's arithmetic is not that of IEEE 754."
        )
    return codes, header


def read_header(source):
    """What a code file says of itself; no model is needed.

    Args:
        source: Path of the file, or its bytes.

    Returns:
        `CodeHeader`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or of another kind.
    """
    data, name = _read(source)
    if safetensors_codes.is_code_file(data):
        return safetensors_codes.read_codes(data, name)[1]
    return _parse(data, name)[0]


def find_model_name(header, source=None):
    """The preset that a code file names.

    Nothing but a preset: the file may be from a stranger, who is not to choose
    what is loaded.

    Args:
        header: `CodeHeader`.
        source: Path of the file, for the error.

    Returns:
        Folder of the preset's weights, or its name if they did not come with
        the package.

    Raises:
        FileNotFoundError: If there is no preset of the name.
    """
    if header.model in PRESETS:
        # By its folder, since a name stands for a folder here first of all.
        return bundled_weights().get(header.model, header.model)
    name = "The code file"
    if isinstance(source, (str, os.PathLike)):
        name = str(source)
    raise FileNotFoundError(
        f"{name} was made by a model of the name {header.model!r}, which is "
        "not a preset: say where it is as `model`."
    )


def _read(source):
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source), "The code file"
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "A code file is given as its path or its bytes. Received: "
            f"{type(source).__name__}"
        )
    with open_regular(source) as file:
        return file.read(), str(source)


def _parse(data, name):
    """`(header, payload)`."""
    if not header_module.is_code_file(data):
        raise ValueError(f"{name} is not a code file.")
    return _guarded(name, header_module.parse, data)


def _guarded(name, function, *args):
    try:
        return function(*args)
    except ValueError as error:
        message = str(error).rstrip(".")
        raise ValueError(
            f"{name} is a damaged code file: {message}."
        ) from error


def _checked(codes, image_size, model):
    try:
        height, width = map(operator.index, image_size)
    except (TypeError, ValueError):
        height = 0
    if height < 1 or width < 1:
        raise ValueError(
            "`image_size` must be two positive integers, `(height, width)`. "
            f"Received: {image_size!r}"
        )
    codes = tuple(np.asarray(level) for level in codes)
    shapes = code_shapes(image_size, model.strides)
    received = tuple(level.shape for level in codes)
    if received != shapes:
        raise ValueError(
            f"The codes of an image of {image_size[0]} rows and "
            f"{image_size[1]} columns by {model.name} must have the shapes "
            f"{shapes}. Received: {received}"
        )
    for i, level in enumerate(codes):
        if level.dtype.kind not in "iu":
            raise ValueError(
                f"Codes must be integers. Map {i} is {level.dtype}."
            )
        if level.min() < 0 or level.max() >= model.num_embeddings:
            raise ValueError(
                f"Codes must be in 0..{model.num_embeddings - 1}. Map {i} has "
                f"values from {level.min()} to {level.max()}."
            )
    return tuple(level.astype("int32") for level in codes)


def _check_sizes(header, model, name):
    theirs = header.strides, header.num_embeddings
    if theirs != (model.strides, model.num_embeddings):
        raise ValueError(
            f"{name} has codes of the strides {header.strides} and "
            f"{header.num_embeddings} embeddings. {model.name} has "
            f"{model.strides} and {model.num_embeddings}: "
            f"{_maker(header, model)}"
        )


def _maker(header, model):
    if header.model != model.name:
        return f"choose the `model` that made it, {header.model}."
    return (
        f"choose the `model` that made it: it has this name, but it is not "
        f"revision {model.revision} as here."
    )


def _check_model(header, model, name):
    _check_sizes(header, model, name)
    if header.method not in model.methods:
        raise ValueError(
            f"{name} was made with a {header.method} model, which "
            f"{model.name} does not have: choose the `model` that made it."
        )
    received = model.fingerprint(header.method)
    if received != header.fingerprint:
        part = " or another context model" * (header.method == "context")
        raise ValueError(
            f"{name} was made with other weights{part} than those of "
            f"{model.name} here (fingerprint {header.fingerprint.hex()}, here "
            f"{received.hex()}): {_maker(header, model)}"
        )


def _write(codes, image_size, model, method):
    sides = ()
    if method == "raw":
        payload = _pack(codes, model.num_embeddings)
    elif method == "histogram":
        encoder = RangeEncoder()
        for level, counts in zip(codes, model.histograms, strict=True):
            encoder.encode(level.reshape(-1), counts)
        payload = encoder.message()
    else:
        payload, sides = model.context.encode(codes)
    return CodeHeader(
        method=method,
        model=model.name,
        fingerprint=model.fingerprint(method),
        image_size=tuple(map(int, image_size)),
        strides=model.strides,
        num_embeddings=model.num_embeddings,
        checksums=tuple(map(_checksum, codes)),
        sides=sides,
    ).pack(payload)


def _decode(payload, header, model):
    if header.method == "raw":
        return _unpack(payload, header)
    if header.method == "context":
        return model.context.decode(payload, header.sides, header.code_shapes)
    decoder = RangeDecoder(payload)
    return tuple(
        decoder.decode_alike(counts, shape[0] * shape[1]).reshape(shape)
        for shape, counts in zip(
            header.code_shapes, model.histograms, strict=True
        )
    )


def _bits(num_embeddings):
    return (num_embeddings - 1).bit_length()


def _pack(codes, num_embeddings):
    """All codes as one string of bits, the highest bit of each first."""
    flat = np.concatenate([level.reshape(-1) for level in codes])
    shifts = np.arange(_bits(num_embeddings))[::-1]
    return b"".join(
        # (_PART, bits)
        np.packbits((part[:, None] >> shifts & 1).astype("uint8")).tobytes()
        for part in (flat[i : i + _PART] for i in range(0, len(flat), _PART))
    )


def _unpack(payload, header):
    bits = _bits(header.num_embeddings)
    expected = -(-header.num_codes * bits // 8)
    if len(payload) != expected:
        raise ValueError(
            f"{header.num_codes} codes take {expected} bytes, not "
            f"{len(payload)}"
        )
    data = np.frombuffer(payload, "uint8")
    weights = (1 << np.arange(bits, dtype="int32"))[::-1]
    flat = np.empty(header.num_codes, "int32")
    for i in range(0, len(flat), _PART):
        part = flat[i : i + _PART]
        planes = np.unpackbits(
            data[i * bits // 8 : (i + _PART) * bits // 8],
            count=len(part) * bits,
        )
        np.matmul(
            planes.reshape(len(part), bits).astype("int32"), weights, out=part
        )
    if flat.max() >= header.num_embeddings:
        raise ValueError(f"there is a code {flat.max()}")
    sizes = [height * width for height, width in header.code_shapes]
    return tuple(
        part.reshape(shape).astype("int32")
        for part, shape in zip(
            np.split(flat, np.cumsum(sizes)[:-1]),
            header.code_shapes,
            strict=True,
        )
    )


def _checksum(level):
    return zlib.crc32(level.astype("<u2").tobytes()) & 0xFFFF

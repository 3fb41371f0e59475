"""Arrays in safetensors files, and a hash of nothing but their values."""

import hashlib
import io
import json
import math
import os
import re
import reprlib
import struct

import numpy as np
import safetensors
import safetensors.numpy

from keras_vqvae2.files import open_regular

# A header of 2**16 arrays fits.
MAX_HEADER_BYTES = 2**23
MAX_NAME_LENGTH = 256
_METADATA = "__metadata__"
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
_MOST_NESTED = 32


def parse_json(text):
    """The value of a JSON text that may come from anywhere.

    Args:
        text: Bytes or a string.

    Raises:
        ValueError: If it is not JSON, is nested more than 32 times, or an
            object has a key twice: which of the values counts, readers
            of JSON do not agree on.
    """
    if not isinstance(text, str):
        text = bytes(text).decode("utf-8")
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    values = [value]
    for _ in range(_MOST_NESTED):
        values = [
            inner
            for outer in values
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not values:
            return value
    raise ValueError("it is nested too deep")


def _object(pairs):
    mapping = {}
    for name, value in pairs:
        if name in mapping:
            raise ValueError(f"it has the key {reprlib.repr(name)} twice")
        mapping[name] = value
    return mapping


def read_header(path):
    """What a safetensors file says of its arrays, which are not read.

    Args:
        path: Path of the file.

    Returns:
        `(types, metadata)`: `(dtype, shape)` of each array by name, with
        NumPy's names of dtypes, and the dict of strings that the file has
        beside its arrays.

    Raises:
        ValueError: If it is not a whole safetensors file, a name is there
            twice or longer than 256 characters, or NumPy knows no such dtype.
    """
    with open_regular(path) as file:
        return _read_header(file)


def _read_header(file):
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
    if length > size - 8:
        raise ValueError("not a whole safetensors file: it is cut short")
    if length > MAX_HEADER_BYTES:
        raise ValueError(
            f"its header has {length} bytes, more than {MAX_HEADER_BYTES}"
        )
    try:
        header = parse_json(file.read(length))
    except ValueError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("not a whole safetensors file: it has no header")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise ValueError("its metadata are not strings by name")
    types, ranges = {}, []
    for name, entry in header.items():
        types[name], span = _parse_entry(name, entry)
        ranges.append(span)
    position = 0
    for begin, end in sorted(ranges):
        if begin != position:
            raise ValueError("its arrays overlap or leave gaps")
        position = end
    if position != size - 8 - length:
        raise ValueError(
            f"not a whole safetensors file: {size - 8 - length} bytes of "
            f"arrays instead of {position}"
        )
    return types, metadata


def _parse_entry(name, entry):
    if not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"it has an array of the name {reprlib.repr(name)}")
    fault = ValueError(f"its array {name!r} is not described as it should be")
    if not isinstance(entry, dict) or set(entry) != {
        "dtype",
        "shape",
        "data_offsets",
    }:
        raise fault
    code, shape, offsets = (
        entry[key] for key in ("dtype", "shape", "data_offsets")
    )
    for sizes in (shape, offsets):
        if not isinstance(sizes, list) or not all(
            type(size) is int and 0 <= size < 2**48 for size in sizes
        ):
            raise fault
    if len(shape) > 32 or len(offsets) != 2:
        raise fault
    if not isinstance(code, str) or code not in _DTYPES:
        raise ValueError(
            f"its array {name!r} has the dtype {reprlib.repr(code)}, which "
            "NumPy does not know"
        )
    dtype = _DTYPES[code]
    itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
    if offsets[1] - offsets[0] != math.prod(shape) * itemsize:
        raise fault
    return (dtype, tuple(shape)), offsets


def check_types(found, expected):
    """Raises ValueError unless a file has the arrays that it should have.

    Args:
        found: `types` of `read_header`.
        expected: The same, as it should be.
    """
    if set(found) != set(expected):
        missing = sorted(set(expected) - set(found))
        unknown = sorted(set(found) - set(expected))
        raise ValueError(
            f"its arrays do not fit: missing {missing[:5]}, unknown "
            f"{reprlib.repr(unknown[:5])} ({len(missing)} and {len(unknown)} "
            "in all)"
        )
    for name, (dtype, shape) in expected.items():
        if found[name] != (dtype, tuple(shape)):
            raise ValueError(
                f"{name} must be {dtype} of shape {tuple(shape)}. Received "
                f"{found[name][0]} of shape {reprlib.repr(found[name][1])}"
            )


def parse_arrays(data):
    """Dict of the arrays of a safetensors file.

    Args:
        data: Bytes of the file.

    Raises:
        ValueError: As `read_header`.
    """
    return parse_arrays_and_metadata(data)[0]


def parse_arrays_and_metadata(data):
    """As `read_arrays`, of the bytes of a file."""
    _, metadata = _read_header(io.BytesIO(data))
    try:
        return safetensors.numpy.load(data), metadata
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error


def read_arrays(path):
    """Dict of the arrays of a safetensors file, and its metadata.

    Args:
        path: Path of the file.

    Returns:
        `(arrays, metadata)`.

    Raises:
        ValueError: As `read_header`.
    """
    _, metadata = read_header(path)
    try:
        return safetensors.numpy.load_file(path), metadata
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error


def write_arrays(path, arrays, metadata=None):
    """Writes a dict of NumPy arrays to a safetensors file.

    Args:
        path: Path of the file.
        arrays: Dict of NumPy arrays.
        metadata: Dict of strings, or None.

    Raises:
        OSError: If the disk is full, or the file cannot be written otherwise.
    """
    try:
        safetensors.numpy.save_file(arrays, path, metadata)
    except safetensors.SafetensorError as error:
        # The library names the system's error in words of its own.
        match = re.search(r"\(os error (\d+)\)", str(error))
        if match is None:
            raise
        number = int(match[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def arrays_digest(arrays):
    """SHA-256 of arrays by name, whatever the order and the file.

    Of, for each array in the order of the names' bytes: name, dtype and shape
    as `name:float32:512,64` and a line feed, then its bytes, little-endian.

    Args:
        arrays: Dict of NumPy arrays.
    """
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        shape = ",".join(map(str, np.shape(arrays[name])))
        digest.update(f"{name}:{array.dtype.name}:{shape}\n".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return digest.digest()

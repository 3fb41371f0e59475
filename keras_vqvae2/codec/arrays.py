"""Arrays of safetensors files, and a hash of nothing but their values."""

import hashlib

import numpy as np
import safetensors
import safetensors.numpy


def parse_arrays(data):
    """Dict of the arrays of a safetensors file.

    Args:
        data: Bytes of the file.

    Raises:
        ValueError: If it is not a whole file, or has types that NumPy has not.
    """
    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a whole safetensors file: {error}") from error
    except (AttributeError, KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"arrays that NumPy does not know: {error}") from error


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

"""A hash of weights that depends on nothing but their values."""

import hashlib

import numpy as np


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

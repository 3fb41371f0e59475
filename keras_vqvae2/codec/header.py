"""The header of a code file: what it says before the codes begin."""

import dataclasses
import math
import struct
import zlib

from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.vqvae_config import STRIDES

MAGIC = b"VQ2"
VERSION = 1
# Height and width of an image.
MAX_SIDE = 2**16
# A bound of the memory that a file of a few bytes can ask for.
MAX_PIXELS = 2**28
MAX_LEVELS = 8
MAX_EMBEDDINGS = 2**16
METHODS = ("raw", "histogram", "context")

_PREFIX = "vqvae2-"
_CRC_START, _CRC_END = 5, 9
_HAS_PREFIX, _HAS_SIDES = 1 << 5, 1 << 6


@dataclasses.dataclass(frozen=True)
class CodeHeader:
    """What a code file says of itself; `docs/format.md` has the bytes.

    Args:
        method: How the codes are stored: "raw", "histogram" or "context".
        model: Name of the model that made the codes.
        fingerprint: 8 bytes that tell the weights, and for "context" the
            context model, from all others; see `CodeModel.fingerprint`.
        image_size: `(height, width)` of the image, before padding.
        strides: Strides of the levels, finest first.
        num_embeddings: Codebook entries of each level.
        checksums: Checksum of each code map, coarse to fine.
        sides: Pairs `(index, side)`, sorted: logits of the context model
            that are too near to a boundary of the grid to trust any machine's
            rounding, and whether they count as above it.

    Raises:
        ValueError: If a value is out of bounds.
    """

    method: str
    model: str
    fingerprint: bytes
    image_size: tuple
    strides: tuple
    num_embeddings: int
    checksums: tuple
    sides: tuple = ()

    def __post_init__(self):
        height, width = self.image_size
        if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
            raise ValueError(
                f"An image must have 1 to {MAX_SIDE} rows and columns. "
                f"Received: {height} rows, {width} columns"
            )
        if height * width > MAX_PIXELS:
            raise ValueError(
                f"An image must have at most {MAX_PIXELS} pixels. Received: "
                f"{height} rows, {width} columns"
            )
        if not 1 <= len(self.strides) <= MAX_LEVELS or any(
            stride not in STRIDES for stride in self.strides
        ):
            raise ValueError(
                f"Strides must be 1 to {MAX_LEVELS} powers of two in 2..64. "
                f"Received: {self.strides}"
            )
        if not 1 <= self.num_embeddings <= MAX_EMBEDDINGS:
            raise ValueError(
                f"There must be 1 to {MAX_EMBEDDINGS} different codes. "
                f"Received: {self.num_embeddings}"
            )

    @property
    def code_shapes(self):
        """Sizes `(height_i, width_i)` of the code maps, coarse to fine."""
        return code_shapes(self.image_size, self.strides)

    @property
    def num_codes(self):
        """Number of codes of all maps."""
        return sum(map(math.prod, self.code_shapes))

    def pack(self, payload):
        """The bytes of the whole file, with `payload` after this header."""
        flags = METHODS.index(self.method) | (len(self.strides) - 1) << 2
        name = _check_name(self.model)
        if name.startswith(_PREFIX) and name != _PREFIX:
            flags |= _HAS_PREFIX
            name = name[len(_PREFIX) :]
        if self.sides:
            flags |= _HAS_SIDES
        body = bytes([len(name)]) + name.encode("ascii") + self.fingerprint
        body += b"".join(map(_varint, self.image_size))
        halvings = [stride.bit_length() - 1 for stride in self.strides]
        halvings += [0] * (len(halvings) % 2)
        body += bytes(
            low | high << 4
            for low, high in zip(halvings[::2], halvings[1::2], strict=True)
        )
        exponent = self.num_embeddings.bit_length() - 1
        if self.num_embeddings == 1 << exponent:
            body += bytes([exponent])
        else:
            body += b"\xff" + _varint(self.num_embeddings)
        body += struct.pack(f"<{len(self.checksums)}H", *self.checksums)
        if self.sides:
            body += _varint(len(self.sides))
            previous = 0
            for index, side in self.sides:
                body += _varint((index - previous) << 1 | side)
                previous = index
        body += payload
        start = MAGIC + bytes([VERSION, flags])
        crc = zlib.crc32(body, zlib.crc32(start))
        return start + struct.pack("<I", crc) + body


def code_shapes(image_size, strides):
    """Sizes of the code maps of an image of any size, coarse to fine.

    Args:
        image_size: `(height, width)`, before padding.
        strides: Strides of the levels, finest first.
    """
    total = math.prod(strides)
    size = [-(-side // total) * total for side in image_size]
    shapes = []
    for stride in strides:
        size = [side // stride for side in size]
        shapes.append(tuple(size))
    return tuple(reversed(shapes))


def is_code_file(data):
    """Whether bytes begin as a file of this format, of any version."""
    return data[: len(MAGIC)] == MAGIC


def parse(data):
    """The header of a code file, after a check of the whole file.

    Args:
        data: Bytes of the file.

    Returns:
        `(header, payload)`: a `CodeHeader` and the bytes after it.

    Raises:
        ValueError: If the file is damaged, of another kind or of a later
            version.
    """
    if not is_code_file(data):
        raise ValueError("it does not begin as a code file")
    if len(data) < _CRC_END:
        raise ValueError("it is cut short")
    if data[len(MAGIC)] != VERSION:
        raise ValueError(
            f"it has version {data[len(MAGIC)]} of the format; this version "
            f"of keras-vqvae2 reads {VERSION}. Update keras-vqvae2"
        )
    start, body = data[:_CRC_START], memoryview(data)[_CRC_END:]
    (expected,) = struct.unpack("<I", data[_CRC_START:_CRC_END])
    if zlib.crc32(body, zlib.crc32(start)) != expected:
        raise ValueError("its checksum is wrong: bytes were changed or lost")
    flags = start[-1]
    if flags >> 7 or flags & 3 >= len(METHODS):
        raise ValueError(f"its flags are {flags:#04x}")
    reader = _Reader(body)
    num_levels = (flags >> 2 & 7) + 1
    name = bytes(reader.take(reader.byte())).decode("latin-1")
    if flags & _HAS_PREFIX:
        name = _PREFIX + name
    _check_name(name)
    fingerprint = bytes(reader.take(8))
    image_size = reader.varint(), reader.varint()
    nibbles = [
        nibble
        for byte in reader.take((num_levels + 1) // 2)
        for nibble in (byte & 15, byte >> 4)
    ]
    if num_levels % 2 and nibbles[-1]:
        raise ValueError("its strides are not as they should be")
    strides = tuple(1 << nibble for nibble in nibbles[:num_levels])
    exponent = reader.byte()
    if exponent == 0xFF:
        num_embeddings = reader.varint()
    else:
        num_embeddings = 1 << min(exponent, 32)
    checksums = struct.unpack(f"<{num_levels}H", reader.take(2 * num_levels))
    header = CodeHeader(
        METHODS[flags & 3],
        name,
        fingerprint,
        image_size,
        strides,
        num_embeddings,
        checksums,
    )
    if flags & _HAS_SIDES:
        sides = _read_sides(reader, header.num_codes * num_embeddings)
        header = dataclasses.replace(header, sides=sides)
    return header, bytes(reader.rest())


def _read_sides(reader, num_logits):
    count = reader.varint()
    # Each takes a byte at least.
    if count == 0 or count > reader.remaining():
        raise ValueError(f"it lists {count} roundings")
    sides = []
    index = 0
    for i in range(count):
        value = reader.varint()
        if i and value < 2:
            raise ValueError("its list of roundings is not in order")
        index += value >> 1
        if index >= num_logits:
            raise ValueError("its list of roundings goes beyond the codes")
        sides.append((index, value & 1))
    return tuple(sides)


def _check_name(name):
    if not is_name(name):
        raise ValueError(
            "The model's name must be up to 96 letters, digits, '.', '_' or "
            f"'-'. Received: {name!r}"
        )
    return name


class _Reader:
    """Reads a header; ValueError where it ends too early."""

    def __init__(self, data):
        self._data = data
        self._position = 0

    def take(self, count):
        end = self._position + count
        if end > len(self._data):
            raise ValueError("it is cut short")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def byte(self):
        return self.take(1)[0]

    def varint(self):
        value = 0
        for i in range(6):
            byte = self.byte()
            value |= (byte & 0x7F) << 7 * i
            if byte < 0x80:
                return value
        raise ValueError("it has a number that is too large")

    def remaining(self):
        return len(self._data) - self._position

    def rest(self):
        return self._data[self._position :]


def _varint(value):
    """Seven bits a byte, the lowest first; the last byte is below 128."""
    data = bytearray()
    while value >= 0x80:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    data.append(value)
    return bytes(data)

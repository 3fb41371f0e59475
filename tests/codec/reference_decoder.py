"""A decoder of code files written from docs/format.md, sharing no code.

Slow and plain: one code after another, Python's integers.
"""

import hashlib
import math
import zlib

import numpy as np


class Bytes:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        self.at += count
        assert self.at <= len(self.data)
        return self.data[self.at - count : self.at]

    def number(self, count=1):
        return int.from_bytes(self.take(count), "little")

    def varint(self):
        value = shift = 0
        while True:
            byte = self.number()
            value += byte % 128 << shift
            shift += 7
            if byte < 128:
                return value


class Message:
    """The range decoder."""

    def __init__(self, data):
        self.data = Bytes(data + bytes(10**6))
        self.range = 2**64 - 1
        self.point = int.from_bytes(self.data.take(8), "big")

    def symbol(self, frequencies):
        if len(frequencies) == 1:
            return 0
        assert sum(frequencies) == 2**24 and min(frequencies) >= 1
        scale = self.range // 2**24
        left = 0
        symbol = 0
        while self.point // scale >= left + frequencies[symbol]:
            left += frequencies[symbol]
            symbol += 1
        frequency = frequencies[symbol]
        self.point -= scale * left
        self.range = scale * frequency
        if self.range < 2**32:
            word = int.from_bytes(self.data.take(4), "big")
            self.point = self.point * 2**32 + word
            self.range *= 2**32
        return symbol


def frequencies(weights):
    total = 2**24 - len(weights)
    r = total / sum(weights)
    counts = [math.floor(w * r) for w in weights]
    counts[weights.index(max(weights))] += total - sum(counts)
    return [n + 1 for n in counts]


def levels_of(number):
    if number == 1:
        return ["top"]
    middle = ["middle"]
    if number != 3:
        middle = [f"middle_{i + 1}" for i in range(number - 2)]
    return ["top", *middle, "bottom"]


def digest(arrays):
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        shape = ",".join(str(side) for side in array.shape)
        sha.update(f"{name}:{array.dtype}:{shape}\n".encode())
        sha.update(array.tobytes())
    return sha.digest()


def decode(data, weights, context=None, sizes=None):
    """`(codes, fields)`: a list of arrays, coarse to fine, and the header.

    Args:
        data: Bytes of the file.
        weights: Dict of the arrays of `model.safetensors`.
        context: The same of `context.safetensors`.
        sizes: `context` of `config.json`.
    """
    assert data[:4] == b"VQ2\x01"
    crc = int.from_bytes(data[5:9], "little")
    assert crc == zlib.crc32(data[:5] + data[9:])
    flags = data[4]
    assert flags < 128
    method, number = flags & 3, (flags >> 2 & 7) + 1
    file = Bytes(data[9:])
    name = file.take(file.number()).decode("ascii")
    if flags & 32:
        name = "vqvae2-" + name
    fingerprint = file.take(8)
    height, width = file.varint(), file.varint()
    nibbles = []
    for byte in file.take((number + 1) // 2):
        nibbles += [byte % 16, byte // 16]
    strides = [2**nibble for nibble in nibbles[:number]]
    exponent = file.number()
    num_codes = file.varint() if exponent == 255 else 2**exponent
    checksums = [file.number(2) for _ in range(number)]
    sides = {}
    if flags & 64:
        i = 0
        for _ in range(file.varint()):
            entry = file.varint()
            i += entry // 2
            sides[i] = entry % 2
    payload = file.data[file.at :]

    total = math.prod(strides)
    side = [-(-height // total) * total, -(-width // total) * total]
    shapes = []
    for stride in strides:
        side = [s // stride for s in side]
        shapes.insert(0, tuple(side))
    names = levels_of(number)

    digests = digest(weights) + (digest(context) if method == 2 else b"")
    assert hashlib.sha256(digests).digest()[:8] == fingerprint
    if method == 0:
        codes = raw(payload, shapes, num_codes)
    elif method == 1:
        message = Message(payload)
        codes = []
        for level, shape in zip(names, shapes, strict=True):
            x = [float(c) for c in weights[f"quantizer_{level}/counts"]]
            r = 2**24 / math.fsum(x)
            table = frequencies([math.floor(c * r) for c in x])
            flat = [message.symbol(table) for _ in range(math.prod(shape))]
            codes.append(np.array(flat).reshape(shape))
    else:
        message, codes = Message(payload), []
        for level, shape in zip(names, shapes, strict=True):
            arrays = {
                key.split("/", 1)[1]: array.astype("float64")
                for key, array in context.items()
                if key.startswith(level + "/")
            }
            first = sum(map(np.size, codes))
            codes.append(
                context_level(
                    message,
                    shape,
                    codes[-1] if codes else None,
                    arrays,
                    sizes,
                    sides,
                    first,
                )
            )
    for level, checksum in zip(codes, checksums, strict=True):
        assert zlib.crc32(level.astype("<u2").tobytes()) % 2**16 == checksum
    return codes, {
        "name": name,
        "method": ("raw", "histogram", "context")[method],
        "size": (height, width),
    }


def raw(payload, shapes, num_codes):
    bits = math.ceil(math.log2(num_codes))
    number = int.from_bytes(payload, "big")
    left = 8 * len(payload)
    codes = []
    for shape in shapes:
        flat = []
        for _ in range(math.prod(shape)):
            left -= bits
            flat.append((number >> left) % 2**bits)
        codes.append(np.array(flat).reshape(shape))
    return codes


def context_level(message, shape, coarser, arrays, sizes, sides, first):
    num_codes = len(arrays["embeddings"]) - 1
    n, radius = sizes["num_neighbors"], sizes["coarse_radius"]
    offsets = [
        (dy, dx)
        for dy in range(-n, 1)
        for dx in range(-n, n + 1)
        if dy < 0 or (dy == 0 and dx < 0)
    ]
    offsets.sort(key=lambda o: (math.sqrt(o[0] ** 2 + o[1] ** 2), o[0], o[1]))
    offsets = offsets[:n]
    a = 1 + max(
        [math.floor(dx / -dy) for dy, dx in offsets if dy < 0 and dx > 0],
        default=0,
    )
    height, width = shape
    codes = np.full(shape, num_codes)

    def at(codes, y, x):
        inside = 0 <= y < codes.shape[0] and 0 <= x < codes.shape[1]
        return codes[y, x] if inside else num_codes

    order = sorted(
        ((y, x) for y in range(height) for x in range(width)),
        key=lambda place: (place[1] + a * place[0], place[0]),
    )
    for y, x in order:
        place, h = 0, 0
        if coarser is not None:
            q = height // coarser.shape[0]
            place = y % q * q + x % q
            h = arrays["coarse/bias"].copy()
            j = 0
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    d = at(coarser, y // q + dy, x // q + dx)
                    h += (
                        arrays["coarse_embeddings"][d]
                        @ arrays["coarse/kernel"][j]
                    )
                    j += 1
            h = np.maximum(h, 0) @ arrays["coarse_output/kernel"][:, place]
        h = h + arrays["bias"][place]
        for i, (dy, dx) in enumerate(offsets):
            c = at(codes, y + dy, x + dx)
            h = h + arrays["embeddings"][c] @ arrays["neighbors/kernel"][i]
        h = np.maximum(h, 0)
        i = 1
        while f"hidden_{i}/kernel" in arrays:
            h = h @ arrays[f"hidden_{i}/kernel"] + arrays[f"hidden_{i}/bias"]
            h = np.maximum(h, 0)
            i += 1
        logits = h @ arrays["output/kernel"] + arrays["output/bias"]
        grid = []
        for k, logit in enumerate(logits):
            v = 256 * logit + 0.3
            index = (first + y * width + x) * num_codes + k
            if index in sides:
                grid.append(round(v) - 1 + sides[index])
            else:
                grid.append(math.floor(v))
        weights = [round(2**24 * math.exp((g - max(grid)) / 256)) for g in grid]
        codes[y, x] = message.symbol(frequencies(weights))
    return codes

import dataclasses
import math

import pytest
from code_models import with_fitting_crc

from keras_vqvae2.codec.header import CodeHeader
from keras_vqvae2.codec.header import code_shapes
from keras_vqvae2.codec.header import parse

HEADER = CodeHeader(
    method="context",
    model="vqvae2-imagenet256",
    fingerprint=bytes(range(8)),
    image_size=(256, 256),
    strides=(4, 2),
    num_embeddings=512,
    checksums=(1, 65535),
)


def _changed(**changes):
    return dataclasses.replace(HEADER, **changes)


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        _changed(method="raw", model="mine.2_x-y", num_embeddings=1),
        _changed(image_size=(1, 65536), strides=(2,), checksums=(7,)),
        _changed(strides=(8, 2, 2), checksums=(1, 2, 3), num_embeddings=65536),
        _changed(num_embeddings=500, strides=(64,) * 8, checksums=(0,) * 8),
        _changed(sides=((0, 1), (1, 0), (300, 1), (2621439, 0))),
        _changed(model="vqvae2-"),
    ],
)
def test_round_trip(header):
    parsed, payload = parse(header.pack(b"payload"))
    assert parsed == header and payload == b"payload"


def test_bytes_are_those_of_the_page():
    assert (
        HEADER.pack(b"").hex()
        == (
            "565132"  # VQ2
            "01"
            "26"  # context, two levels, a name with the prefix
            + HEADER.pack(b"")[5:9].hex()
            + "0b"
            + b"imagenet256".hex()
            + "0001020304050607"
            + "80028002"
            + "12"  # strides 4 and 2
            + "09"  # 512 codes
            + "0100ffff"
        )
    )
    assert len(HEADER.pack(b"")) == 39


def test_code_shapes():
    assert code_shapes((256, 256), (4, 2)) == ((32, 32), (64, 64))
    assert code_shapes((1, 9), (4, 2)) == ((1, 2), (2, 4))
    assert code_shapes((1024, 512), (8, 2, 2)) == (
        *((32, 16), (64, 32)),
        (128, 64),
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": (0, 5)}, "Received: 0 rows, 5 columns"),
        ({"image_size": (65537, 5)}, "Received: 65537 rows, 5 columns"),
        ({"image_size": (65536, 65536)}, "at most 268435456 pixels"),
        ({"strides": (4, 3)}, r"powers of two in 2..64. Received: \(4, 3\)"),
        ({"strides": (2,) * 9}, "1 to 8"),
        ({"strides": ()}, "1 to 8"),
        ({"num_embeddings": 0}, "Received: 0"),
        ({"num_embeddings": 65537}, "Received: 65537"),
    ],
)
def test_out_of_bounds(changes, message):
    with pytest.raises(ValueError, match=message):
        _changed(**changes)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a" * 97, "é"])
def test_names(name):
    with pytest.raises(ValueError, match="name must be up to 96"):
        _changed(model=name).pack(b"")


@pytest.mark.parametrize("seed", range(3))
def test_every_cut_and_every_flipped_bit_is_noticed(seed):
    header = _changed(sides=((seed, 1), (70, 0)))
    data = header.pack(bytes(range(seed, 40)))
    for end in range(len(data)):
        with pytest.raises(ValueError):
            parse(data[:end])
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError):
            parse(bytes(changed))
    with pytest.raises(ValueError, match="checksum"):
        parse(data + b"\0")


def test_nonsense_with_a_checksum_that_fits():
    """Only a ValueError, whatever a forger writes."""
    data = _changed(sides=((5, 1), (70, 0))).pack(b"payload")
    wrong = 0
    for position in (4, *range(9, len(data))):
        for value in range(256):
            changed = bytearray(data)
            changed[position] = value
            try:
                header, _ = parse(with_fitting_crc(bytes(changed)))
            except ValueError:
                wrong += 1
            else:
                assert math.prod(header.image_size) <= 2**28
    assert wrong > 1000
    for end in range(9, len(data) - len(b"payload")):
        with pytest.raises(ValueError):
            parse(with_fitting_crc(data[:end]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not begin"),
        (b"VQ2", "cut short"),
        (b"VQ2\x02" + bytes(60), "version 2 .* reads 1. Update"),
        (b"PNG\x01" + bytes(60), "does not begin"),
    ],
)
def test_other_files(data, message):
    with pytest.raises(ValueError, match=message):
        parse(data)

import numpy as np
import pytest
from reference_decoder import Message

from keras_vqvae2.codec.range_coder import TOTAL
from keras_vqvae2.codec.range_coder import RangeDecoder
from keras_vqvae2.codec.range_coder import RangeEncoder
from keras_vqvae2.codec.range_coder import frequencies


def _weights(rng, number, num_symbols):
    """Anything from uniform to all but certain."""
    weights = np.round(rng.exponential(size=(number, num_symbols)) ** 8 * 1e4)
    weights[np.arange(number), rng.integers(0, num_symbols, number)] += 1
    return weights


@pytest.mark.parametrize("num_symbols", [1, 2, 5, 512])
@pytest.mark.parametrize("choice", ["likely", "unlikely", "any"])
def test_shortest_message_that_another_coder_decodes(num_symbols, choice):
    rng = np.random.default_rng(num_symbols)
    extra = []
    for number in (*range(1, 30), 500):
        counts = frequencies(_weights(rng, number, num_symbols))
        symbols = {
            "likely": counts.argmax(axis=-1),
            "unlikely": counts.argmin(axis=-1),
            "any": rng.integers(0, num_symbols, number),
        }[choice]
        encoder = RangeEncoder()
        for part in np.array_split(np.arange(number), 3):
            encoder.encode(symbols[part], counts[part])
        message = encoder.message()
        reference = Message(message)
        decoded = [
            reference.symbol(row) for row in (counts + 1).astype(int).tolist()
        ]
        np.testing.assert_array_equal(decoded, symbols)
        decoder = RangeDecoder(message)
        parts = np.array_split(counts, 2)
        decoded = np.concatenate([decoder.decode(part) for part in parts])
        np.testing.assert_array_equal(decoded, symbols)
        taken = np.take_along_axis(counts, symbols[:, None], -1) + 1
        extra.append(len(message) - -np.log2(taken / TOTAL).sum() / 8)
    assert max(extra) < 1.01


def test_one_distribution_for_all():
    rng = np.random.default_rng(0)
    counts = frequencies(_weights(rng, 1, 7)[0])
    symbols = rng.integers(0, 7, 100)
    one, many = RangeEncoder(), RangeEncoder()
    one.encode(symbols, counts)
    many.encode(symbols, np.repeat(counts[None], 100, axis=0))
    assert one.message() == many.message()
    np.testing.assert_array_equal(
        RangeDecoder(one.message()).decode_alike(counts, 100), symbols
    )


def test_nothing_is_no_bytes():
    assert RangeEncoder().message() == b""
    assert RangeDecoder(b"").decode(np.zeros((0, 5))).shape == (0,)


def test_a_message_that_ends_too_early():
    counts = frequencies(np.ones((1000, 512)))
    with pytest.raises(ValueError, match="ends before its codes"):
        RangeDecoder(b"some bytes").decode(counts)
    with pytest.raises(ValueError, match="ends before its codes"):
        RangeDecoder(b"some bytes").decode_alike(counts[0], 10**9)


def test_frequencies_are_proportional_whole_numbers():
    weights = np.array([[0.0, 1, 3, 0], [2.0**24, 1, 0, 2.0**24]])
    counts = frequencies(weights)
    np.testing.assert_array_equal(counts.sum(axis=-1), TOTAL - 4)
    np.testing.assert_array_equal(counts, np.floor(counts))
    np.testing.assert_array_equal(counts[0], [0, 4194303, 12582909, 0])
    # What is left over goes to the first of the greatest.
    assert counts[1, 0] >= counts[1, 3] and counts[1, 2] == 0

"""Entropy coding of symbols with integer frequencies.

The range coder is that of the library constriction, which is exact with
integers: it is given whole numbers that add up to `TOTAL` less one for each
symbol, and adds the one.
"""

import constriction
import numpy as np

# Frequencies of a symbol's alphabet add up to this.
TOTAL = 2**24

# Symbols that are decoded between two looks at what is left of the message.
_CHUNK = 65536

_FAMILY = constriction.stream.model.Categorical(perfect=False)


def frequencies(weights):
    """Integer frequencies, less one, in proportion to weights.

    Only operations that IEEE 754 defines to the last bit: every machine gets
    the same.

    Args:
        weights: float64 array `(..., K)` of whole numbers, at least one of
            each row positive. Sums of a row stay below 2**53.

    Returns:
        float64 array `(..., K)` of whole numbers of at least 0, whose rows
        add up to `TOTAL - K`.
    """
    free = TOTAL - weights.shape[-1]
    scale = free / weights.sum(axis=-1, keepdims=True)
    counts = weights * scale
    np.floor(counts, out=counts)
    rest = free - counts.sum(axis=-1, keepdims=True)
    largest = np.argmax(weights, axis=-1, keepdims=True)
    rest += np.take_along_axis(counts, largest, axis=-1)
    np.put_along_axis(counts, largest, rest, axis=-1)
    return counts


class RangeEncoder:
    """Appends symbols to a message."""

    def __init__(self):
        self._encoder = constriction.stream.queue.RangeEncoder()

    def encode(self, symbols, counts):
        """Appends symbols.

        Args:
            symbols: Integer array `(N,)`.
            counts: `frequencies` of each, `(N, K)`, or of all, `(K,)`.
        """
        symbols = np.ascontiguousarray(symbols, "int32")
        if counts.shape[-1] == 1 or not len(symbols):
            return  # nothing to say, and constriction knows no such model
        if counts.ndim == 1:
            self._encoder.encode(symbols, _model(counts))
        else:
            self._encoder.encode(symbols, _FAMILY, counts)

    def message(self):
        """The shortest bytes from which all symbols so far can be decoded."""
        words = self._encoder.get_compressed()
        num_words, (lower, size) = self._encoder.pos()
        # Any number in [lower, lower + size) will do: the words before these
        # 64 bits belong to it, too.
        number = int.from_bytes(words.astype(">u4").tobytes(), "big")
        number <<= 32 * (num_words + 2 - len(words))
        lower = number - (number - lower) % 2**64
        length = 4 * num_words + 8
        for dropped in range(8, -1, -1):
            number = -(-lower >> 8 * dropped)
            if number << 8 * dropped < lower + size:
                break
        return number.to_bytes(length - dropped, "big")


class RangeDecoder:
    """Takes symbols from a message, in their order.

    Args:
        message: Bytes that a `RangeEncoder` made.
    """

    def __init__(self, message):
        # A message goes on with zeros for ever.
        padded = message + bytes(8 + -len(message) % 4)
        self._decoder = constriction.stream.queue.RangeDecoder(
            np.frombuffer(padded, ">u4").astype("uint32")
        )
        self._bits_left = 8 * len(message) + 64

    def decode(self, counts):
        """The next symbols.

        Args:
            counts: `frequencies` of each, `(N, K)`.

        Returns:
            int32 array `(N,)`.

        Raises:
            ValueError: If no encoder can have made the message.
        """
        if counts.shape[-1] == 1 or not len(counts):
            return np.zeros(len(counts), "int32")
        symbols = self._take(_FAMILY, counts)
        self._spend(np.take_along_axis(counts, symbols[:, None], axis=-1))
        return symbols

    def decode_alike(self, counts, number):
        """The next symbols, all of which have the same `frequencies`.

        Args:
            counts: `frequencies`, `(K,)`.
            number: How many.

        Returns:
            int32 array `(number,)`.

        Raises:
            ValueError: If no encoder can have made the message.
        """
        if counts.shape[-1] == 1:
            return np.zeros(number, "int32")
        model = _model(counts)
        parts = []
        for start in range(0, number, _CHUNK):
            part = self._take(model, min(_CHUNK, number - start))
            self._spend(counts[part])
            parts.append(part)
        return np.concatenate(parts)

    def _take(self, *args):
        try:
            return self._decoder.decode(*args)
        except AssertionError as error:
            raise ValueError("its codes are not a message") from error

    def _spend(self, counts):
        # A message of a few bytes does not hold the codes of a huge image:
        # stop where it ends, not where they would.
        self._bits_left += np.log2((counts + 1) / TOTAL).sum()
        if self._bits_left < 0:
            raise ValueError("it ends before its codes do")


def _model(counts):
    return constriction.stream.model.Categorical(
        counts, lazy=False, perfect=False
    )

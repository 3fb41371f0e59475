"""Parts of a batch that are computed one after the other, to save memory."""

import contextlib
import threading

_current = threading.local()


class Microbatch:
    """Every `count`-th image of a batch, from the `index`-th on.

    Args:
        index: Index of the part, an integer or a scalar tensor.
        count: Number of parts, an integer.
    """

    def __init__(self, index, count):
        self.index = index
        self.count = count
        self.statistics = {}

    @contextlib.contextmanager
    def scope(self):
        """Quantizers that are called inside learn nothing yet.

        What they would have learned from, a list of tensors to be summed over
        the parts, is in `statistics` by the quantizer's name; its `learn`
        takes the sum.
        """
        # Replicas of `tf.distribute` are threads.
        _current.microbatch = self
        try:
            yield
        finally:
            _current.microbatch = None


def current_microbatch():
    """The `Microbatch` whose scope this is, or None."""
    return getattr(_current, "microbatch", None)

"""What the layers of a model leave for its training step."""

import contextlib
import threading

# The replicas of `tf.distribute` are threads that share the layers.
_of_thread = threading.local()


class StepRecord:
    """Losses and statistics of one forward pass, by the layer's name.

    A pass may see only a part of its replica's batch: every `count`-th image,
    from the `index`-th on.

    Args:
        index: Index of the part, an integer or a scalar tensor.
        count: Number of parts, an integer.
    """

    def __init__(self, index=0, count=1):
        self.index = index
        self.count = count
        self.losses = {}
        self.statistics = {}

    @contextlib.contextmanager
    def scope(self):
        """Layers called inside add to this record and update no codebook."""
        _of_thread.record = self
        try:
            yield self
        finally:
            _of_thread.record = None


def current_record():
    """The record whose scope this is; None outside of a model's step."""
    return getattr(_of_thread, "record", None)


def current_part():
    """`(index, count)` of the part of the batch that this pass sees."""
    record = current_record()
    return (0, 1) if record is None else (record.index, record.count)

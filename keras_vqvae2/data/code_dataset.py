"""Batches of codes for the training of priors."""

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import _pipeline
from keras_vqvae2.data._arguments import SEED_LIMIT

tf = LazyModule("tensorflow")

# More would fill the memory with copies of the codes.
_MAX_BATCH = 2**20


def code_dataset(
    codes,
    labels,
    batch_size,
    *,
    training=True,
    seed=0,
    start_step=0,
    drop_remainder=False,
    shard=(0, 1),
):
    """Batches for a `PixelSNAILPrior`.

    With `training=True` the dataset is infinite: each epoch is one pass over
    the images in a new order, and batch `k` depends on the arguments and `k`
    only. Otherwise each image comes once, in order.

    Args:
        codes: Sequence of integer arrays `(images, height_i, width_i)`, coarse
            to fine; the last one is the prior's own level.
        labels: Integer array `(images,)`, or None.
        batch_size: Number of images in a batch, over all workers.
        training: Whether to shuffle and repeat forever.
        seed: Integer in `0 <= seed < 2**63`: seeds the order of the images.
        start_step: Index of the first training batch.
        drop_remainder: Whether validation drops a last, smaller batch.
        shard: `(index, count)`: worker `index` gets every `count`-th example
            of each batch, starting at `index`; `count` divides `batch_size`.

    Returns:
        `tf.data.Dataset` of dicts: `"codes"`, a tuple of int32 tensors
        `(batch, height_i, width_i)`, and `"labels"`, int32 `(batch,)`.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    ```python
    codes = (np.zeros((5, 2, 2), "int32"), np.ones((5, 4, 4), "int32"))
    dataset = keras_vqvae2.data.code_dataset(codes, None, batch_size=2)
    batch = next(iter(dataset))
    assert batch["codes"][1].shape == (2, 4, 4)
    ```
    """
    check_integer("batch_size", batch_size, maximum=_MAX_BATCH)
    check_integer("start_step", start_step, minimum=0)
    if check_integer("seed", seed, minimum=0) >= SEED_LIMIT:
        raise ValueError(f"`seed` must be below 2**63. Received: {seed}")
    size = len(codes[0])

    _pipeline.leave_gpu_alone()
    arrays = {"codes": tuple(tf.constant(level) for level in codes)}
    if labels is not None:
        arrays["labels"] = tf.constant(labels)
    seed = tf.constant(seed, tf.int64)

    def gather(images):
        return tf.nest.map_structure(
            lambda array: tf.cast(tf.gather(array, images), tf.int32), arrays
        )

    index, count = shard
    if not training:
        if drop_remainder:
            size = size // batch_size * batch_size
        dataset = (
            tf.data.Dataset.range(index, size, count)
            .batch(batch_size // count, drop_remainder)
            .map(gather)
        )
        return _pipeline.with_options(dataset)

    def shuffled(step):
        epoch, position = step // size, step % size
        return tf.random.experimental.index_shuffle(
            position, tf.stack([seed, epoch]), tf.constant(size - 1, tf.int64)
        )

    dataset = (
        tf.data.Dataset.counter(start_step * batch_size + index, step=count)
        .map(shuffled)
        .batch(batch_size // count, drop_remainder=True)
        .map(gather)
    )
    return _pipeline.with_options(dataset)

"""Sums over the replicas of data-parallel training.

Each replica of `tf.distribute` sees its own part of the batch. On JAX an array
is global: its sum already runs over every device. PyTorch trains on one device.
"""

import keras
from keras import ops

from keras_vqvae2.backend.step_record import current_part


def _replica_context():
    """TensorFlow's context if there are several replicas, else None."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def replica_count_and_id():
    """Number of replicas, and the (possibly symbolic) index of this one."""
    context = _replica_context()
    if context is None:
        return 1, 0
    return context.num_replicas_in_sync, context.replica_id_in_sync_group


def replica_sum(tensors):
    """Sums each tensor of a list over all replicas."""
    context = _replica_context()
    return tensors if context is None else context.all_reduce("SUM", tensors)


def uniform_per_image(num_images, num_draws, seed_generator):
    """Random numbers of which each image has its own, however it is computed.

    Args:
        num_images: Images of this replica and part of the batch.
        num_draws: Numbers for each.
        seed_generator: Its seeds are the same in all replicas and parts.

    Returns:
        Float32 tensor `(num_images, num_draws)` in [0, 1).
    """
    num_replicas, replica_id = replica_count_and_id()
    part, num_parts = current_part()
    draws = keras.random.uniform(
        (num_replicas * num_images * num_parts, num_draws),
        seed=seed_generator,
        dtype="float32",
    )
    if num_replicas * num_parts == 1:
        return draws
    image = replica_id * num_images + ops.arange(num_images)
    return ops.take(draws, image * num_parts + part, axis=0)

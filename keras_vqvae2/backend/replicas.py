"""Sums over the replicas of data-parallel training.

On JAX an array is global: its sum already runs over every device. TensorFlow
and PyTorch replicas each see their own part of the batch.
"""

import keras
from keras import ops

from keras_vqvae2.backend.step_record import current_microbatch


def _tensorflow_context():
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def _torch_is_distributed():
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def replica_count_and_id():
    """Number of replicas, and the (possibly symbolic) index of this one."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        context = _tensorflow_context()
        if context is not None:
            return (
                context.num_replicas_in_sync,
                context.replica_id_in_sync_group,
            )
    elif backend == "torch" and _torch_is_distributed():
        import torch.distributed as dist

        return dist.get_world_size(), dist.get_rank()
    return 1, 0


def replica_sum(tensors):
    """Sums each tensor of a list over all replicas."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        context = _tensorflow_context()
        if context is not None:
            return context.all_reduce("SUM", tensors)
    elif backend == "torch" and _torch_is_distributed():
        import torch.distributed as dist

        tensors = [tensor.clone() for tensor in tensors]
        for tensor in tensors:
            dist.all_reduce(tensor)
    return tensors


def uniform_per_image(num_images, num_draws, seed_generator):
    """Random numbers of which each image has its own, however it is computed.

    Args:
        num_images: Images of this replica and microbatch.
        num_draws: Numbers for each.
        seed_generator: Seeds them; replicas and microbatches have the same.

    Returns:
        Float32 tensor `(num_images, num_draws)` in [0, 1).
    """
    num_replicas, replica_id = replica_count_and_id()
    microbatch = current_microbatch()
    num_parts, part = 1, 0
    if microbatch is not None:
        num_parts, part = microbatch.count, microbatch.index
    draws = keras.random.uniform(
        (num_replicas * num_images * num_parts, num_draws),
        seed=seed_generator,
        dtype="float32",
    )
    if num_replicas * num_parts == 1:
        return draws
    image = replica_id * num_images + ops.arange(num_images)
    return ops.take(draws, image * num_parts + part, axis=0)

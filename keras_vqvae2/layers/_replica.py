"""Sums over the replicas of data-parallel training.

On JAX an array is global: its sum already runs over every device. TensorFlow
and PyTorch replicas each see their own part of the batch.
"""

import keras


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

"""Training on several devices and workers, by one name for each backend."""

import concurrent.futures
import contextlib
import functools
import json
import os

from keras_vqvae2.backend.lazy_module import LazyModule

keras = LazyModule("keras")

STRATEGIES = ("none", "mirrored", "multiworker", "tpu")
_JAX_VARIABLES = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)


@contextlib.contextmanager
def distribute(strategy="none"):
    """Trains what is built and fitted inside on several devices.

    | | TensorFlow | JAX |
    |---|---|---|
    | `"none"` | one device | one device |
    | `"mirrored"` | `MirroredStrategy` | `DataParallel` |
    | `"multiworker"` | `MultiWorkerMirroredStrategy` | `DataParallel` |
    | `"tpu"` | `TPUStrategy` | `DataParallel` |

    `"mirrored"` takes all devices of this machine, `"multiworker"` those of
    all machines, each of which runs the same script: on TensorFlow
    `TF_CONFIG` lists them, on JAX Keras's `KERAS_DISTRIBUTION_JOB_ADDRESSES`,
    `_NUM_PROCESSES` and `_PROCESS_ID`. Batch sizes are those of all devices
    together, and the result is that of one device up to rounding.

    Args:
        strategy: One of the names above.

    Yields:
        The number of replicas, which batch sizes must be multiples of.

    Raises:
        ValueError: If there is no such strategy, the backend does not have
            it, or the environment does not describe the workers.

    Example:

    ```python
    with keras_vqvae2.training.distribute("none") as num_replicas:
        model = keras_vqvae2.HierarchicalVQVAE()
        model.compile("adam")
    assert num_replicas == 1
    ```
    """
    if strategy not in STRATEGIES:
        raise ValueError(
            f"`strategy` must be one of {', '.join(STRATEGIES)}. Received: "
            f"{strategy!r}"
        )
    backend = keras.backend.backend()
    if strategy == "none":
        yield 1
    elif backend == "tensorflow":
        tensorflow_strategy = _tensorflow_strategy(strategy)
        with tensorflow_strategy.scope():
            yield tensorflow_strategy.num_replicas_in_sync
    elif backend == "jax":
        distribution = _jax_distribution(strategy)
        with distribution.scope():
            yield int(distribution.device_mesh.devices.size)
    else:
        raise ValueError(
            f"strategy={strategy!r} needs the tensorflow or jax backend of "
            f"Keras: {backend} trains on one device. Set KERAS_BACKEND, or "
            'pass "none".'
        )


@functools.cache
def _tensorflow_strategy(name):
    # One for the process: a second one would number its collectives from the
    # start again, and TensorFlow would take them for those of the first.
    import tensorflow as tf

    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU")
        devices = devices or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    if name == "multiworker":
        try:
            workers = json.loads(os.environ["TF_CONFIG"])["cluster"]["worker"]
            index = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
            if not 0 <= index < len(workers):
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise ValueError(
                'strategy="multiworker" reads the workers from the environment '
                "variable TF_CONFIG, the same on each but for the index: "
                '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
                '"task": {"type": "worker", "index": 0}}. Received: '
                f"{os.environ.get('TF_CONFIG')!r}"
            ) from None
        return tf.distribute.MultiWorkerMirroredStrategy()
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect(
            os.environ.get("TPU_NAME", "local")
        )
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            'strategy="tpu" found no TPU for TensorFlow. It needs the package '
            "tensorflow-tpu, of which 2.20 is the last version, or use the "
            f"jax backend. TensorFlow says: {error}"
        ) from error


def _jax_distribution(name):
    import jax

    if name == "multiworker":
        missing = [v for v in _JAX_VARIABLES if v not in os.environ]
        if missing:
            raise ValueError(
                'strategy="multiworker" reads the workers from the environment '
                f"on the jax backend. Not set: {', '.join(missing)}."
            )
        if not jax.distributed.is_initialized():
            keras.distribution.initialize()
    elif name == "tpu" and jax.default_backend() != "tpu":
        raise ValueError(
            'strategy="tpu" found no TPU: JAX runs on '
            f"{jax.default_backend()}. Install jax[tpu] on a TPU machine."
        )
    # Each worker reads its own part: see `worker`.
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def worker():
    """`(index, count)` of this process among those that train together."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        strategy = tf.distribute.get_strategy()
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            spec = resolver.cluster_spec().as_dict()
            return resolver.task_id, len(spec["worker"])
    elif backend == "jax":
        distribution = keras.distribution.distribution()
        if distribution is not None:
            import jax

            return jax.process_index(), jax.process_count()
    return 0, 1


def is_chief():
    """Whether this process is the one that writes files."""
    return worker()[0] == 0


def on_chief(function):
    """Runs a function without arguments on the chief alone.

    With several workers it runs in a thread, where there is no strategy:
    variables that it makes are the chief's own, which the others do not wait
    for.
    """
    index, count = worker()
    if count == 1:
        function()
    elif index == 0:
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            executor.submit(function).result()


def num_replicas(strategy=None):
    """Number of devices that share a batch.

    Args:
        strategy: That of `tf.distribute`; None for the one in whose scope
            this is.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        strategy = strategy or tf.distribute.get_strategy()
        return strategy.num_replicas_in_sync
    if keras.backend.backend() == "jax":
        distribution = keras.distribution.distribution()
        if distribution is not None:
            mesh = distribution.device_mesh
            axis = mesh.axis_names.index(distribution.batch_dim_name)
            return mesh.shape[axis]
    return 1


def worker_dataset(make_dataset, batch_size):
    """This worker's share of a dataset of whole batches.

    Args:
        make_dataset: Function of `shard`, the pair `(index, count)`, that
            returns a tf.data dataset of a `count`-th of each batch.
        batch_size: Examples in a batch of all workers together.

    Returns:
        What `fit` takes: a dataset, under TensorFlow's strategy for several
        workers a distributed one.
    """
    check_batch_size(batch_size)
    index, count = worker()
    if keras.backend.backend() != "tensorflow" or count == 1:
        return make_dataset((index, count))
    import tensorflow as tf

    strategy = tf.distribute.get_strategy()

    def make(context):
        shard = (context.input_pipeline_id, context.num_input_pipelines)
        dataset = make_dataset(shard)
        per_replica = context.get_per_replica_batch_size(batch_size)
        if per_replica * count == batch_size:
            return dataset
        # The shape stays static: XLA needs it.
        return dataset.rebatch(per_replica, drop_remainder=True).map(
            lambda *batch: tf.nest.map_structure(
                lambda x: tf.ensure_shape(x, (per_replica, *x.shape[1:])),
                batch[0] if len(batch) == 1 else batch,
            )
        )

    return strategy.distribute_datasets_from_function(make)


def check_batch_size(batch_size, gradient_accumulation_steps=1, replicas=None):
    """Raises ValueError unless the devices can share the batch evenly."""
    replicas = replicas or num_replicas()
    parts = replicas * gradient_accumulation_steps
    if batch_size % parts:
        steps = ""
        if gradient_accumulation_steps > 1:
            steps = (
                f", in gradient_accumulation_steps="
                f"{gradient_accumulation_steps} parts on each"
            )
        raise ValueError(
            f"A batch of {batch_size} cannot be shared evenly by {replicas} "
            f"devices{steps}. The batch size is that of all together: pass a "
            f"multiple of {parts}."
        )

import atexit
import os
import shutil
import signal
import socket
import tempfile

# Most of the time on JAX goes into compiling programs that run once, many of
# them the same in several tests. One folder for each process of pytest: JAX
# writes programs in place, and of two that share them one may read half of one.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
programs = tempfile.mkdtemp(prefix="jax-programs-")
os.environ["JAX_COMPILATION_CACHE_DIR"] = programs
atexit.register(shutil.rmtree, programs, ignore_errors=True)

import keras  # noqa: E402
import pytest  # noqa: E402

# A job in the background, as tests may be, ignores Ctrl-C; these send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two devices, for tests of data parallelism. Others use the first one alone.
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )
elif keras.backend.backend() == "jax":
    import jax

    jax.config.update("jax_num_cpu_devices", 2)
elif keras.backend.backend() == "torch":
    import torch

    # Threads that wait for each other are slower than one, at these sizes.
    torch.set_num_threads(1)


# The same code on every backend: JAX, which takes longest to compile what runs
# once, leaves these to the other two.
NOT_ON_JAX = tuple(
    """
cli/ codec/ data/ demo/ docs/ evaluation/ hub/test_downloads.py
hub/test_presets.py hub/test_uploads.py test_compression.py test_docstrings.py
test_everyday.py test_extract_codes.py test_files.py test_interrupts.py
test_left_behind.py
""".split()
)
# So that no long test runs alone at the end.
LONGEST = ("scale/", "demo/", "training/", "sampling/")


def pytest_collection_modifyitems(config, items):
    backend = keras.backend.backend()

    def path(item):
        return item.path.relative_to(config.rootpath / "tests").as_posix()

    for item in items:
        reason = None
        if backend != "tensorflow" and item.get_closest_marker("once"):
            reason = "needs no backend: runs once"
        if backend == "jax" and (
            path(item).startswith(NOT_ON_JAX)
            or item.get_closest_marker("not_on_jax")
        ):
            reason = "runs on tensorflow and torch"
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))
    items.sort(key=lambda item: not path(item).startswith(LONGEST))


@pytest.fixture(autouse=True)
def fresh_state():
    keras.utils.set_random_seed(0)
    yield
    if keras.backend.backend() == "jax":
        keras.distribution.set_distribution(None)
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("bundled weights must not touch the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

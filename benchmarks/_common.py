"""Contenders in processes of their own, timed in alternating rounds."""

import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback

# The package of this checkout, installed or not.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def limit_threads(backend, threads, pin=True):
    """Gives this process `threads` CPUs, and its runtime as many threads.

    Call it before `backend` is imported. `pin=False` leaves the CPUs alone,
    for contenders that run side by side.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if pin and hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        if len(cpus) < threads:
            raise ValueError(
                f"{threads} threads were asked for, but only {len(cpus)} CPUs "
                "are available."
            )
        os.sched_setaffinity(0, cpus[:threads])
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        tf.config.set_visible_devices([], "GPU")
    elif backend == "torch":
        import torch

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    elif backend == "jax":
        os.environ["JAX_PLATFORMS"] = "cpu"


def import_peer(path):
    """The module `vqvae` of the peer's checkout at `path`."""
    sys.path.insert(0, os.path.abspath(path))
    import vqvae

    return vqvae


class Contender:
    """A process that holds a contender and runs its tasks when told to.

    Args:
        name: Name in the tables.
        make_tasks: Function at the top of a module; called in the process
            with `**options`, it returns a dict of functions by task name.
        daemon: Whether it ends with this process; then it can start none.
        options: Keyword arguments of `make_tasks`.
    """

    def __init__(self, name, make_tasks, daemon=True, **options):
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, connection = context.Pipe()
        self._process = context.Process(
            target=_serve,
            args=(connection, make_tasks, options),
            daemon=daemon,
        )
        self._process.start()
        connection.close()
        self.tasks = self._receive()

    def run(self, task, result=False):
        """Runs a task once; returns its seconds, or its result, a float."""
        self._connection.send(task)
        seconds, value = self._receive()
        return value if result else seconds

    def close(self):
        self._connection.send(None)
        self._process.join()

    def _receive(self):
        try:
            result = self._connection.recv()
        except EOFError:
            raise RuntimeError(f"{self.name}: the process ended.") from None
        if isinstance(result, str):
            raise RuntimeError(f"{self.name}:\n{result}")
        return result


def _serve(connection, make_tasks, options):
    try:
        tasks = make_tasks(**options)
        connection.send(list(tasks))
        while (name := connection.recv()) is not None:
            start = time.perf_counter()
            result = tasks[name]()
            seconds = time.perf_counter() - start
            number = result if isinstance(result, float) else None
            connection.send((seconds, number))
    except Exception:
        connection.send(traceback.format_exc())


def alternate(contenders, task, rounds, warmup=2, result=False):
    """Seconds of each contender at a task: A B C, A B C, ...

    Each starts a round in turn, and none runs while another does. With
    `result` they are the seconds that the task itself returns.

    Returns:
        Dict of lists, one number a round, by contender name.
    """
    seconds = {c.name: [] for c in contenders}
    for i in range(warmup + rounds):
        turn = i % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            elapsed = contender.run(task, result)
            if i >= warmup:
                seconds[contender.name].append(elapsed)
    return seconds


def ratios(seconds, ours, peer):
    """Peer's time over ours, round by round: `(median, min, max)`."""
    values = [b / a for a, b in zip(seconds[ours], seconds[peer], strict=True)]
    return statistics.median(values), min(values), max(values)


def print_table(header, rows):
    """Prints a table in Markdown."""
    rows = [header, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    for i, row in enumerate(rows):
        cells = [cell.ljust(w) for cell, w in zip(row, widths, strict=True)]
        print("| " + " | ".join(cells) + " |")
        if i == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print(flush=True)


def print_machine(threads):
    """Prints what the figures depend on."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version

    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo") as file:
            names = [line for line in file if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    print(f"{model}, {threads} of {os.cpu_count()} CPUs, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    packages = [f"Python {platform.python_version()}"]
    for name in ("tensorflow", "tensorflow-cpu", "keras", "jax", "torch"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            pass
    print(", ".join(packages) + "\n", flush=True)


def memory_in_kib(field):
    """This process's `VmRSS`, now, or `VmHWM`, the peak; Linux only."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith(field))
    return int(line.split()[1])


def width_of_equal_size(parameters, arguments):
    """The width at which a prior has about as many parameters.

    Args:
        parameters: Number of parameters to reach.
        arguments: Function of the width that gives a prior's arguments.

    Returns:
        Tuple of the width and the number of parameters there.
    """
    import numpy as np

    import keras_vqvae2

    # The number is a quadratic polynomial of the width.
    widths = (8, 16, 24)
    counts = [
        keras_vqvae2.PixelSNAILPrior(**arguments(width)).count_params()
        for width in widths
    ]
    polynomial = np.polyfit(widths, counts, 2)
    return min(
        (
            (width, round(np.polyval(polynomial, width)))
            for width in range(8, 1024, 8)
        ),
        key=lambda found: abs(found[1] - parameters),
    )

"""Memory and operations of a training step at the paper's sizes.

    python benchmarks/memory.py --target h200 [--devices 8]
    python benchmarks/memory.py --target v5p:2x2x2 --devices 8
    python benchmarks/memory.py --run vqvae2-ffhq1024/top 1 2

With `--target`, the steps of the models of tables 3 to 5, with Adam, are
compiled by JAX for that device but not run: no such device is needed, and XLA
says what it would take. With `--run`, one step of one model is run on this
machine, in a process for each batch size, and its peak is read. See README.md.
"""

import argparse
import os
import re
import subprocess
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow" if "--run" in sys.argv else "jax"
# What compiles for a GPU or a TPU that is not there.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
os.environ["TPU_SKIP_MDS_QUERY"] = "1"

import _common  # noqa: E402

# As `nvidia-smi` and the vendor describe it.
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 150754820096
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H200"
"""
# There is no device to try kernels on.
XLA_FLAGS = "--xla_gpu_autotune_level=0"
PLAIN = (16, 32)  # batches whose difference gives the bytes of an image


def rows():
    """`{name: (class name, arguments, shapes of an image's inputs, batch)}`."""
    from keras_vqvae2.hub.presets import PRESETS

    found = {}
    batches = {
        "vqvae2-imagenet256": {"top": 1024, "bottom": 512},
        "vqvae2-ffhq1024": {"top": 1024, "middle": 512, "bottom": 256},
    }
    for name, sizes in batches.items():
        side = {"vqvae2-imagenet256": 256, "vqvae2-ffhq1024": 1024}[name]
        found[f"{name}/vqvae"] = (
            "HierarchicalVQVAE",
            PRESETS[name].vqvae,
            (side, side, 3),
            128,
        )
        for level, arguments in PRESETS[name].priors.items():
            found[f"{name}/{level}"] = (
                "PixelSNAILPrior",
                arguments,
                arguments["code_shapes"],
                sizes[level],
            )
    return found


def build(row, parts, rematerialize, dtype):
    import keras

    import keras_vqvae2

    kind, arguments, *_ = row
    options = {"dtype": dtype}
    if kind == "PixelSNAILPrior":
        options["rematerialize"] = rematerialize
    model = getattr(keras_vqvae2, kind)(**arguments, **options)
    model.compile(
        keras.optimizers.Adam(3e-4), gradient_accumulation_steps=parts
    )
    model.optimizer.build(model.trainable_variables)
    return model


def specification(row, batch, spec):
    """The inputs of a step, each as `spec(shape, dtype)`."""
    kind, arguments, shapes, _ = row
    if kind == "HierarchicalVQVAE":
        return spec((batch, *shapes), "uint8")
    data = {"codes": tuple(spec((batch, *shape), "int32") for shape in shapes)}
    if arguments.get("num_classes"):
        data["labels"] = spec((batch,), "int32")
    return data


def mesh_of(target, number):
    """A mesh of `number` devices of a kind that need not be there."""
    import jax
    import numpy as np
    from jax.experimental import topologies

    if target == "cpu":
        devices = jax.devices()
    elif target == "h200":
        devices = topologies.get_topology_desc(
            platform="cuda", target_config=H200, topology=f"1x1x{number}"
        ).devices
    else:
        devices = topologies.get_topology_desc(
            platform="tpu", topology_name=target
        ).devices
    if len(devices) < number:
        raise SystemExit(f"{target} has {len(devices)} devices, not {number}.")
    return jax.sharding.Mesh(np.array(devices[:number]), ("batch",))


def lower(row, batch, mesh, parts=1, rematerialize=False, dtype=None):
    """The step at a batch that the mesh's devices share, and its model."""
    import jax
    from jax.sharding import NamedSharding
    from jax.sharding import PartitionSpec

    models = []

    def state():
        model = build(row, parts, rematerialize, dtype)
        models.append(model)
        return [
            [variable.value for variable in variables]
            for variables in (
                model.trainable_variables,
                model.non_trainable_variables,
                model.optimizer.variables,
                model.metrics_variables,
            )
        ]

    weights = jax.eval_shape(state)
    whole = NamedSharding(mesh, PartitionSpec())
    split = NamedSharding(mesh, PartitionSpec("batch"))
    step = jax.jit(
        models[0].train_step,
        donate_argnums=0,
        in_shardings=(whole, split),
        out_shardings=(whole, whole),
    )
    data = (specification(row, batch, jax.ShapeDtypeStruct),)
    return step.lower(weights, data), sum(x.size for x in weights[0])


def bytes_of(lowered):
    """What one device holds in a step, by XLA's account."""
    try:
        memory = lowered.compile().memory_analysis()
    except Exception as error:  # a TPU's compiler does not go beyond it
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        temporaries = re.search(r"\(([\d.]+)G\)", str(error))
        return float(temporaries[1]) * 2**30
    return (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )


def compile_all(args):
    table = rows()
    _common.print_machine(os.cpu_count())
    mesh = mesh_of(args.target, args.devices)
    capacity = args.capacity * 1e9
    lines = []
    for name in args.rows or table:
        started = time.perf_counter()
        row = table[name]
        batch = row[-1]

        def held(batch, parts=1, rematerialize=False, row=row):
            lowered, _ = lower(
                row, batch, mesh, parts, rematerialize, args.dtype
            )
            return bytes_of(lowered)

        lowered, weights = lower(row, 1, mesh_of("cpu", 1), dtype=args.dtype)
        operations = lowered.cost_analysis()["flops"]
        one, two = (held(size * args.devices) for size in PLAIN)
        image = (two - one) / (PLAIN[1] - PLAIN[0])
        line = [
            name,
            f"{weights / 1e6:.1f} M",
            str(batch),
            f"{operations / 1e12:.2f}",
            f"{image / 1e9:.3f} GB",
            f"{(one - PLAIN[0] * image) / 1e9:.1f} GB",
        ]
        parts = 1
        rematerialize = row[0] == "PixelSNAILPrior"
        if rematerialize:
            whole = held(batch, rematerialize=True)
            line.append(f"{whole / 1e9:.1f} GB")
        else:
            whole = held(batch)
            line.append("-")
        while whole > capacity and parts < batch // args.devices:
            parts *= 2
            whole = held(batch, parts, rematerialize)
        line += [str(parts), f"{whole / 1e9:.1f} GB"]
        lines.append(line)
        seconds = time.perf_counter() - started
        print(*line, f"({seconds:.0f} s)", flush=True)
    _common.print_table(
        (
            "step",
            "parameters",
            "batch",
            "TFLOP an image",
            "each image",
            "fixed",
            "rematerialized, whole batch",
            "parts to fit",
            "then",
        ),
        lines,
    )


def run_one(name, batch, rematerialize, dtype):
    """Runs a step in this process and prints the peak."""
    import keras
    import numpy as np

    row = rows()[name]
    model = build(row, 1, rematerialize, dtype)
    generator = np.random.default_rng(0)

    def random(shape, kind):
        high = 256 if kind == "uint8" else 512
        return generator.integers(0, high, shape).astype(kind)

    data = specification(row, batch, random)
    logs = model.train_on_batch(data, return_dict=True)
    assert np.isfinite(float(keras.ops.convert_to_numpy(logs["loss"])))
    print("PEAK", _common.memory_in_kib("VmHWM") * 1024)


def run(args):
    name, *batches = args.run
    _common.print_machine(os.cpu_count())
    peaks = []
    for batch in batches:
        command = [sys.executable, __file__, "--run", name, batch, "--child"]
        command += ["--dtype", args.dtype]
        command += ["--rematerialize"] * args.rematerialize
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        found = re.search(r"PEAK (\d+)", result.stdout)
        if not found:
            raise SystemExit(f"{name}, batch {batch}: died, out of memory?")
        peaks.append(int(found[1]))
        print(
            f"{name}, {args.dtype}, batch {batch}, "
            f"rematerialized: {args.rematerialize}: peak "
            f"{peaks[-1] / 1e9:.2f} GB",
            flush=True,
        )
    if len(peaks) > 1:
        image = (peaks[-1] - peaks[0]) / (int(batches[-1]) - int(batches[0]))
        print(f"each image {image / 1e9:.3f} GB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=rows())
    parser.add_argument(
        "--target",
        default="cpu",
        help="cpu, h200 (needs jax[cuda12]) or a TPU's topology, as v5p:2x2x2 "
        "(needs libtpu)",
    )
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument(
        "--capacity", type=float, default=141, help="GB of a device"
    )
    parser.add_argument("--dtype", default="mixed_bfloat16")
    parser.add_argument("--run", nargs="+", metavar=("ROW", "BATCH"))
    parser.add_argument("--rematerialize", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, batch = args.run
        run_one(name, int(batch), args.rematerialize, args.dtype)
    elif args.run:
        run(args)
    else:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} {XLA_FLAGS}"
        compile_all(args)


if __name__ == "__main__":
    main()

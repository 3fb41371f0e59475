"""Memory and operations of a training step at the paper's sizes.

    python benchmarks/memory.py [--rows vqvae2-ffhq1024/top ...]

Each row is the step of a model of tables 3 to 5, with Adam, compiled by JAX for
this machine's processor but not run, so that it takes no memory: XLA says what
it would take. The step's temporaries at batches of one and two images give the
bytes of an image; weights and Adam's two moments are there once. See README.md.
"""

import argparse
import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import _common  # noqa: E402

MOMENTS = 3  # the weights and two moments
# The step of a whole batch on one card: 141 GB, of which some is lost.
CARD = 130e9


def rows():
    """`{name: (class name, arguments, shapes of an image's inputs, batch)}`."""
    from keras_vqvae2.presets import PRESETS

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
                arguments["sizes"],
                sizes[level],
            )
    return found


def inputs(kind, arguments, shapes, batch):
    import jax

    if kind == "HierarchicalVQVAE":
        return jax.ShapeDtypeStruct((batch, *shapes), "uint8")
    codes = {
        "codes": tuple(
            jax.ShapeDtypeStruct((batch, *shape), "int32") for shape in shapes
        )
    }
    if arguments.get("num_classes"):
        codes["labels"] = jax.ShapeDtypeStruct((batch,), "int32")
    return codes


def account(kind, arguments, shapes, batch, rematerialize, dtype):
    """`(weights, bytes of temporaries, operations)` of a compiled step."""
    import jax
    import keras

    import keras_vqvae2

    options = {"dtype": dtype}
    if kind == "PixelSNAILPrior":
        options["rematerialize"] = rematerialize
    models = []

    def build():
        model = getattr(keras_vqvae2, kind)(**arguments, **options)
        model.compile(keras.optimizers.Adam(3e-4))
        model.optimizer.build(model.trainable_variables)
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

    state = jax.eval_shape(build)
    step = jax.jit(models[0].train_step, donate_argnums=0)
    compiled = step.lower(
        state, (inputs(kind, arguments, shapes, batch),)
    ).compile()
    weights = sum(x.size for x in state[0])
    memory = compiled.memory_analysis()
    return (
        weights,
        memory.temp_size_in_bytes,
        compiled.cost_analysis()["flops"],
    )


def main():
    table = rows()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=table, default=table)
    parser.add_argument("--dtype", default="mixed_bfloat16")
    args = parser.parse_args()
    _common.print_machine(os.cpu_count())
    lines = []
    for name in args.rows:
        kind, arguments, shapes, paper_batch = table[name]
        for rematerialize in (False, True):
            if rematerialize and kind == "HierarchicalVQVAE":
                continue
            started = time.perf_counter()
            (weights, one, operations), (_, two, _) = (
                account(
                    kind, arguments, shapes, batch, rematerialize, args.dtype
                )
                for batch in (1, 2)
            )
            held = 4 * MOMENTS * weights
            # What does not grow with the batch: gradients, above all.
            fixed = held + max(2 * one - two, 0)
            an_image = two - one
            lines.append(
                [
                    name,
                    f"{weights / 1e6:.1f} M",
                    "yes" if rematerialize else "no",
                    f"{fixed / 1e9:.1f} GB",
                    f"{an_image / 1e9:.3f} GB",
                    str(paper_batch),
                    f"{(CARD - fixed) // an_image:.0f}",
                    f"{operations / 1e12:.2f}",
                ]
            )
            seconds = time.perf_counter() - started
            print(*lines[-1], f"({seconds:.0f} s)", flush=True)
    _common.print_table(
        (
            "step",
            "parameters",
            "rematerialized",
            "fixed",
            "each image",
            "paper's batch",
            "images on a card of 141 GB",
            "TFLOP an image",
        ),
        lines,
    )


if __name__ == "__main__":
    main()

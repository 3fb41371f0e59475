"""What can be proven of TPUs without one.

XLA compiles nothing of unknown shape and calls no Python from inside.
"""

import keras
import numpy as np
import pytest
import runs

from keras_vqvae2.training import Muon

STAGES = ["vqvae", "prior"]


def compiled_model(stage, accumulation=1, **options):
    if stage == "prior":
        options["rematerialize"] = accumulation > 1
        optimizer = keras.optimizers.Adam
    else:
        optimizer = Muon
    model = runs.make_model(stage, **options)
    model.compile(
        optimizer(1e-3, global_clipnorm=1.0),
        gradient_accumulation_steps=accumulation,
        jit_compile=True,
    )
    return model


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_tensorflow_step_compiles_under_xla(stage, accumulation):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("of the tensorflow backend")
    import tensorflow as tf

    model = compiled_model(stage, accumulation)
    model.optimizer.build(model.trainable_variables)
    batch = runs.examples(stage, number=runs.BATCH)
    batch = tf.nest.map_structure(tf.constant, batch)
    step = tf.function(model.train_step, jit_compile=True)
    logs = step(batch)
    assert all(np.isfinite(float(value)) for value in logs.values())
    # XLA takes the whole step: a host call has no lowering and would raise.
    text = step.experimental_get_compiler_ir(batch)(stage="hlo")
    assert "custom-call" not in text or "callback" not in text
    assert "<=" not in text.split("{", 1)[0], "a dynamic shape"
    names = {
        node.op
        for function in step.get_concrete_function(batch)
        .graph.as_graph_def()
        .library.function
        for node in function.node_def
    }
    assert not names & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("stage", STAGES)
def test_jax_step_lowers_for_tpu(stage, accumulation):
    if keras.backend.backend() != "jax":
        pytest.skip("of the jax backend")
    import jax
    import jax.export

    model = compiled_model(stage, accumulation, dtype="mixed_bfloat16")
    model.optimizer.build(model.trainable_variables)

    def specs(tree):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree
        )

    state = [
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables,
            model.non_trainable_variables,
            model.optimizer.variables,
            model.metrics_variables,
        )
    ]
    batch = runs.examples(stage, number=runs.BATCH)
    exported = jax.export.export(jax.jit(model.train_step), platforms=["tpu"])(
        specs(tuple(state)), specs(batch)
    )
    assert exported.platforms == ("tpu",)
    text = exported.mlir_module()
    assert "callback" not in text
    assert "tensor<?" not in text
    # The new state has the shapes of the old: the step can be repeated.
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    logs, new_state = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(new_state)]
    assert "loss" in logs

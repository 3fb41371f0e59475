import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops
from reference import Reference
from tiny_models import VQVAE_SIZES
from tiny_models import make_vqvae

import keras_vqvae2
from keras_vqvae2.images import psnr as psnr_of
from keras_vqvae2.layers.saved_seeds import seed_states
from keras_vqvae2.weights import save_weights
from keras_vqvae2.weights import weight_names

ROOT = pathlib.Path(keras_vqvae2.__file__).parents[1]
SIZES = {**VQVAE_SIZES, "num_residual_blocks": 0}


def make(strides=(2, 2), **arguments):
    return make_vqvae(strides, **{**SIZES, **arguments})


def images(batch=4, height=8, width=8, seed=0):
    shape = (batch, height, width, 3)
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype="uint8")


def numpy(x):
    return np.array(ops.convert_to_numpy(x))


def weights_of(model):
    return dict(
        zip(weight_names(model), map(numpy, model.weights), strict=True)
    )


def assert_same(values, expected):
    assert values.keys() == expected.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)


def changed(values, before):
    return {name for name in values if np.any(values[name] != before[name])}


def optimizer_state(model):
    return {
        variable.path: numpy(variable) for variable in model.optimizer.variables
    }


def fill_codebooks(model, x):
    """The same codebooks on every backend's random numbers, without ties."""
    model(x, training=True)
    rng = np.random.default_rng(1)
    for quantizer in model.quantizers:
        codebook = numpy(quantizer.embeddings)
        noise = rng.normal(size=codebook.shape) * codebook.std(0)
        codebook = (codebook.mean(0) + noise).astype("float32")
        quantizer.embeddings.assign(codebook)
        quantizer.sums.assign(3 * codebook)
        quantizer.counts.assign(np.full(16, 3, "float32"))


def test_one_step_against_the_reference():
    """Loss, metrics, gradient of every weight, and the new codebooks.

    The reference knows no gradient: its loss is differentiated numerically,
    in float64, along two random directions in each weight.
    """
    model = make((4, 2), num_residual_blocks=1, dead_code_threshold=0)
    for weight in model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape) / 20)
    x = images(2, 16, 24)
    fill_codebooks(model, x)
    before = weights_of(model)
    rate = 0.5
    model.compile(keras.optimizers.SGD(rate))
    logs = model.fit(x, batch_size=2, verbose=0).history
    after = weights_of(model)

    reference = Reference(before)
    reconstructions, inputs, codes = reference(x)
    fixed = (inputs, codes)
    assert logs["loss"][0] == pytest.approx(
        reference.loss(x, 0.25, fixed), rel=1e-5
    )
    pixels = (reconstructions + 1) * 127.5
    error = np.mean((pixels / 127.5 - x / 127.5) ** 2)
    assert logs["mse"][0] == pytest.approx(error, rel=1e-5)
    error = np.mean((np.clip(pixels, 0, 255) - x) ** 2, axis=(1, 2, 3))
    psnr = np.mean(10 * np.log10(255**2 / error))
    assert logs["psnr"][0] == pytest.approx(psnr, rel=1e-5)
    assert logs["skipped_steps"] == [0]

    rng = np.random.default_rng(0)
    trained = [name for name in before if not name.startswith("quantizer")]
    assert len(trained) == len(model.trainable_weights)
    for name in trained:
        gradient = (before[name] - np.float64(after[name])) / rate
        value = reference.weights[name]
        scale = np.linalg.norm(gradient)
        assert scale > 1e-5, name
        for _ in range(2):
            direction = rng.normal(size=value.shape)
            direction /= np.linalg.norm(direction)
            losses = []
            for step in (1e-6, -1e-6):
                reference.weights[name] = value + step * direction
                losses.append(reference.loss(x, 0.25, fixed))
            reference.weights[name] = value
            expected = (losses[0] - losses[1]) / 2e-6
            np.testing.assert_allclose(
                np.sum(gradient * direction),
                expected,
                atol=2e-3 * scale + 1e-6,
                err_msg=name,
            )

    for vectors, level_codes, name in zip(
        inputs, codes, ("top", "bottom"), strict=True
    ):
        one_hot = np.eye(16)[level_codes.ravel()]
        assert (one_hot.sum(0) > 0).sum() > 3
        counts = 0.99 * 3 + 0.01 * one_hot.sum(0)
        sums = 0.99 * 3 * before[f"quantizer_{name}/embeddings"]
        sums += 0.01 * one_hot.T @ vectors.reshape(-1, 4)
        for part, value in (
            ("counts", counts),
            ("sums", sums),
            ("embeddings", sums / counts[:, None]),
        ):
            np.testing.assert_allclose(
                after[f"quantizer_{name}/{part}"], value, rtol=1e-4, atol=1e-5
            )
        share = one_hot.mean(0)[one_hot.any(0)]
        perplexity = np.exp(-np.sum(share * np.log(share)))
        assert logs[f"perplexity_{name}"][0] == pytest.approx(
            perplexity, rel=1e-5
        )
        assert logs[f"usage_{name}"][0] == pytest.approx(one_hot.any(0).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model trained on tf.data with validation and callbacks."""
    tf = pytest.importorskip("tensorflow")
    folder = tmp_path_factory.mktemp("training")
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(1e-2))
    labels = np.zeros(16)
    dataset = tf.data.Dataset.from_tensor_slices((images(16), labels))
    validation = tf.data.Dataset.from_tensor_slices(images(6, seed=1))
    history = model.fit(
        dataset.batch(4),
        validation_data=validation.batch(4),
        epochs=4,
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                folder / "last.weights.h5",
                save_weights_only=True,
                monitor="val_loss",
            ),
            keras.callbacks.ModelCheckpoint(folder / "last.keras"),
            keras.callbacks.EarlyStopping("val_loss", patience=9),
            keras.callbacks.ReduceLROnPlateau(
                "val_psnr", mode="max", min_delta=99, patience=1, factor=0.5
            ),
            keras.callbacks.TensorBoard(folder / "logs", write_graph=False),
        ],
    )
    return model, history.history, folder


def test_fit_with_callbacks(trained):
    model, history, folder = trained
    levels = [
        f"{metric}_{level}"
        for metric in ("usage", "perplexity")
        for level in ("top", "bottom")
    ]
    names = ["loss", "mse", "psnr", "skipped_steps", *levels]
    names += [f"val_{name}" for name in names] + ["learning_rate"]
    assert history.keys() == set(names)
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]
    assert history["learning_rate"][-1] < 1e-2
    assert sum(history["skipped_steps"]) == 0
    assert list(folder.glob("logs/*/events*"))


def test_early_stopping():
    model = make((2,))
    model.compile(keras.optimizers.SGD(0.0))
    stop = keras.callbacks.EarlyStopping("psnr", mode="max", min_delta=99)
    history = model.fit(images(), epochs=5, verbose=0, callbacks=[stop])
    assert len(history.history["psnr"]) == 2


def test_saved_weights_give_the_same_codes(trained):
    model, _, folder = trained
    copy = make(seed=5)
    assert changed(weights_of(copy), weights_of(model))
    copy.load_weights(folder / "last.weights.h5")
    assert_same(weights_of(copy), weights_of(model))
    x = images(5, 16, 8, seed=2)
    for ours, theirs in zip(copy.encode(x), model.encode(x), strict=True):
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))


def test_saved_model_gives_the_same_codes_and_trains_on(trained):
    model, _, folder = trained
    copy = keras.models.load_model(folder / "last.keras")
    assert copy.get_config() == model.get_config()
    assert_same(weights_of(copy), weights_of(model))
    for ours, theirs in zip(
        copy.optimizer.variables, model.optimizer.variables, strict=True
    ):
        if "learning_rate" not in ours.path:
            np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    seeds = [numpy(state) for state in seed_states(model)]
    assert any(seed[1] > 0 for seed in seeds)
    np.testing.assert_array_equal(
        [numpy(state) for state in seed_states(copy)], seeds
    )
    x = images(5, 16, 8, seed=2)
    for ours, theirs in zip(copy.encode(x), model.encode(x), strict=True):
        assert len(np.unique(numpy(ours))) > 3
        np.testing.assert_array_equal(numpy(ours), numpy(theirs))
    assert np.isfinite(copy.train_on_batch(images(), return_dict=True)["loss"])
    assert changed(weights_of(copy), weights_of(model))


def test_evaluate_measures_and_moves_nothing(trained):
    model, *_ = trained
    x = images(6, seed=3)
    before, optimizer = weights_of(model), optimizer_state(model)
    logs = model.evaluate(x, batch_size=4, verbose=0, return_dict=True)
    reconstructions, codes = model.predict(x, batch_size=4, verbose=0)
    assert_same(weights_of(model), before)
    assert_same(optimizer_state(model), optimizer)

    called, expected = model(x)
    np.testing.assert_allclose(reconstructions, numpy(called), atol=1e-2)
    mse = np.mean((reconstructions - np.float64(x)) ** 2) / 127.5**2
    assert logs["mse"] == pytest.approx(mse, rel=1e-4)
    psnr = psnr_of(x, reconstructions.clip(0, 255))
    assert logs["psnr"] == pytest.approx(np.mean(psnr), rel=1e-4)
    assert logs["loss"] > logs["mse"]
    assert logs["skipped_steps"] == 0
    for name, level, call in zip(("top", "bottom"), codes, expected):  # noqa: B905
        np.testing.assert_array_equal(level, numpy(call))
        shares = np.bincount(level.ravel(), minlength=16) / level.size
        usage = np.mean(shares > 0)
        assert logs[f"usage_{name}"] == pytest.approx(usage)
        shares = shares[shares > 0]
        perplexity = np.exp(-np.sum(shares * np.log(shares)))
        assert logs[f"perplexity_{name}"] == pytest.approx(perplexity, rel=1e-4)


def test_frozen_quantizers_do_not_move():
    model = make()
    model(images(), training=True)
    for quantizer in model.quantizers:
        quantizer.trainable = False
    model.compile("sgd")
    before = weights_of(model)
    model.fit(images(seed=1), verbose=0)
    moved = changed(weights_of(model), before)
    assert moved and not any(name.startswith("quantizer") for name in moved)


@pytest.mark.parametrize(
    ("policy", "decay"),
    [("float32", 0.99), ("float32", None), ("mixed_float16", 0.99)],
)
def test_bad_step_changes_nothing(policy, decay):
    tf = pytest.importorskip("tensorflow")
    model = make((2,), dtype=policy, decay=decay)
    model.compile("adam")
    scales = policy == "mixed_float16"
    assert scales == isinstance(
        model.optimizer, keras.optimizers.LossScaleOptimizer
    )
    good = images().astype("float32")
    bad = good.copy()
    bad[1, 2, 3, 0] = np.nan
    # Here the encoder's outputs are finite and only the gradient is not.
    huge = np.full_like(good, 1e30)
    batches = np.stack([good, good, bad, huge, good, bad, good])
    seen = []

    def look(batch, logs):
        seen.append((weights_of(model), optimizer_state(model), dict(logs)))

    class Look(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if hasattr(model, "jax_state_sync"):
                model.jax_state_sync()
            look(batch, logs)

    history = model.fit(
        tf.data.Dataset.from_tensor_slices(batches),
        verbose=0,
        callbacks=[Look()],
    ).history
    assert history["skipped_steps"] == [3]
    assert all(np.isfinite(values).all() for values in history.values())
    for (old, old_state, _), (new, state, logs), bad_step in zip(
        seen[:-1], seen[1:], [False, True, True, False, True, False],
        strict=True,
    ):  # fmt: skip
        assert np.isfinite(list(logs.values())).all()
        if not bad_step:
            moved = changed(new, old)
            assert any("encoder" in name for name in moved)
            assert any("quantizer" in name for name in moved)
            continue
        assert_same(new, old)
        if scales:
            moved = changed(state, old_state)
            moved = {name.rsplit("/", 1)[-1] for name in moved}
            assert "dynamic_scale" in moved
            assert moved <= {"dynamic_scale", "step_counter"}
        else:
            assert_same(state, old_state)
    assert seen[-1][2]["skipped_steps"] == 3
    # A step that is skipped draws as any other, on every backend.
    quantizer = model.quantizers[0]
    assert numpy(quantizer.seed_generator.state)[1] == len(batches)


@pytest.mark.parametrize("decay", [0.99, None])
def test_bad_first_step_leaves_the_codebook_empty(decay):
    """Its seeds are used up all the same, on every backend."""
    model = make((2,), decay=decay)
    model.compile("adam")
    bad = images().astype("float32")
    bad[1, 2, 3, 0] = np.nan
    before = weights_of(model)
    (quantizer,) = model.quantizers
    seed = numpy(quantizer.seed_generator.state)
    logs = model.train_on_batch(bad, return_dict=True)
    assert logs["skipped_steps"] == 1
    assert_same(weights_of(model), before)
    assert np.any(numpy(quantizer.seed_generator.state) != seed)
    logs = model.train_on_batch(images(), return_dict=True)
    assert float(quantizer.initialized) == 1
    assert logs["usage_top"] > 0.5  # The codes are vectors of this batch.


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision(policy):
    model = make(dtype=policy)
    model.compile(keras.optimizers.Adam(1e-2))
    before = weights_of(model)
    history = model.fit(images(16), batch_size=4, epochs=4, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert history["loss"][-1] < history["loss"][0]
    assert sum(history["skipped_steps"]) == 0
    after = weights_of(model)
    assert changed(after, before) == set(before)
    assert {value.dtype.name for value in after.values()} == {"float32"}


# On JAX, steps are always compiled.
@pytest.mark.not_on_jax
# PyTorch's tracer looks at the `grad` of every tensor.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_jit_compile(monkeypatch):
    if keras.backend.backend() == "torch":
        # The tracer without the C++ compiler, which takes minutes.
        import torch

        compile = torch.compile
        monkeypatch.setattr(
            torch, "compile", lambda f: compile(f, backend="eager")
        )
    losses = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = make((2,), dead_code_threshold=0)
        fill_codebooks(model, images())
        model.compile(keras.optimizers.SGD(0.1), jit_compile=jit_compile)
        assert model.jit_compile == jit_compile
        # The last batch is a smaller one; PyTorch would trace it for a minute.
        number = 8 if keras.backend.backend() == "torch" else 6
        history = model.fit(
            images(number), batch_size=4, epochs=2, verbose=0, shuffle=False
        )
        losses.append(history.history["loss"])
    assert losses[0][1] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[-1], rtol=1e-4)


LOAD_AND_ENCODE = """
import sys
import numpy as np
import keras
import keras_vqvae2
from keras_vqvae2.weights import load_weights
model = keras_vqvae2.HierarchicalVQVAE({arguments})
load_weights(model, sys.argv[1])
codes = model.encode(np.load(sys.argv[2]))
np.savez(sys.argv[3], *map(keras.ops.convert_to_numpy, codes))
"""


def run(script, *arguments, backend):
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
    }
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_same_codes_on_other_backends(trained, tmp_path, backend):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("is run once, from the tensorflow backend")
    pytest.importorskip(backend)
    model, *_ = trained
    x = images(8, 16, 16, seed=4)
    save_weights(model, tmp_path / "model.safetensors")
    np.save(tmp_path / "images.npy", x)
    arguments = ", ".join(f"{k}={v}" for k, v in SIZES.items())
    run(
        LOAD_AND_ENCODE.format(arguments=f"(2, 2), {arguments}"),
        tmp_path / "model.safetensors",
        tmp_path / "images.npy",
        tmp_path / "codes.npz",
        backend=backend,
    )
    found = np.load(tmp_path / "codes.npz")
    for i, expected in enumerate(model.encode(x)):
        assert len(np.unique(numpy(expected))) > 5
        np.testing.assert_array_equal(found[f"arr_{i}"], numpy(expected))

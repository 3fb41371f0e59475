"""Short trainings whose every number can be compared."""

import keras
import numpy as np

import keras_vqvae2
from keras_vqvae2.backend.distribution import worker
from keras_vqvae2.weights import to_numpy
from keras_vqvae2.weights import weight_names

BATCH = 8
STAGES = ("vqvae", "vqvae_by_gradient", "prior")


def make_model(stage, filled=False, **options):
    """A small model of a stage; `filled` if its codebooks are not empty."""
    keras.utils.set_random_seed(0)
    if stage == "prior":
        options.setdefault("class_dropout", 0.25)
        return keras_vqvae2.PixelSNAILPrior(
            code_shapes=((2, 2), (4, 4)),
            num_embeddings=16,
            hidden_dim=8,
            residual_dim=8,
            num_blocks=2,
            kernel_size=3,
            num_attention_layers=1,
            num_heads=2,
            num_output_blocks=1,
            num_conditioning_blocks=1,
            dropout=0.0,
            num_classes=3,
            **options,
        )
    if stage == "vqvae_by_gradient":
        options["decay"] = None
    options.setdefault("level_dropout", 0.25)
    model = keras_vqvae2.HierarchicalVQVAE(
        (2, 2),
        hidden_dim=8,
        residual_dim=4,
        num_residual_blocks=1,
        num_embeddings=16,
        embedding_dim=4,
        # A code falls under 0.9 of the mean count soon.
        dead_code_threshold=0.9,
        **options,
    )
    if filled:
        for quantizer in model.quantizers:
            quantizer.initialized.assign(1.0)
    return model


def examples(stage, number=24, seed=0):
    """Arrays of a stage's examples, as `fit` takes them in batches."""
    generator = np.random.default_rng(seed)
    if stage != "prior":
        return generator.integers(0, 256, (number, 8, 8, 3), dtype="uint8")
    return {
        "codes": tuple(
            generator.integers(0, 16, (number, side, side), dtype="int32")
            for side in (2, 4)
        ),
        "labels": generator.integers(0, 3, (number,), dtype="int32"),
    }


def dataset(stage, **kwargs):
    """The batches of `examples`, in order."""
    import tensorflow as tf

    arrays = examples(stage, **kwargs)
    data = tf.data.Dataset.from_tensor_slices(arrays).batch(
        BATCH, drop_remainder=True
    )
    index, count = worker()
    if keras.backend.backend() == "jax" and count > 1:
        # A contiguous part of each batch, as tf.distribute gives it.
        data = data.rebatch(BATCH // count, drop_remainder=True)
        data = data.shard(count, index)
    return data


class CountRestarts(keras.callbacks.Callback):
    """Counts the codes that have the count of a code just restarted.

    It is the largest: 2 * 0.9 times the mean count before.
    """

    count = 0

    def on_train_batch_end(self, batch, logs=None):
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()
        for quantizer in getattr(self.model, "quantizers", ()):
            counts = to_numpy(quantizer.counts)
            equal = np.sum(counts == counts.max())
            self.count += equal * (equal > 1)


def train(model, stage, epochs=3, thorough=True):
    """History and weights after training; `thorough` says what else.

    Returns:
        Dict of float64 arrays.
    """
    results = {}
    restarts = CountRestarts()
    validation = dataset(stage, number=16, seed=1) if thorough else None
    history = model.fit(
        dataset(stage),
        validation_data=validation,
        epochs=epochs,
        verbose=0,
        callbacks=[restarts],
    ).history
    for name, values in history.items():
        results[f"history/{name}"] = values
    results.update(weights(model))
    if thorough:
        results.update(evaluate(model, stage))
    results["restarts"] = restarts.count
    return {name: np.asarray(v, "float64") for name, v in results.items()}


def evaluate(model, stage):
    """What `evaluate` and `predict` say of other examples."""
    results = {}
    data = dataset(stage, number=16, seed=2)
    for name, value in model.evaluate(
        data, verbose=0, return_dict=True
    ).items():
        results[f"evaluate/{name}"] = value
    if keras.backend.backend() == "jax" and worker()[1] > 1:
        return results  # Keras's `predict` wants all outputs in one process.
    outputs = keras.tree.flatten(model.predict(data, verbose=0))
    for i, value in enumerate(outputs):
        results[f"predict/{i}"] = value
    return results


def weights(model):
    """Every weight by name."""
    return {
        f"weights/{name}": to_numpy(weight)
        for name, weight in zip(weight_names(model), model.weights, strict=True)
    }


def largest_difference(results, expected):
    """`(difference, name)` where two results differ most."""
    assert results.keys() == expected.keys()
    differences = {}
    for name, value in results.items():
        assert value.shape == expected[name].shape, name
        assert np.isfinite(value).all(), name
        scale = max(1.0, np.abs(expected[name]).max())
        differences[name] = np.abs(value - expected[name]).max() / scale
    name = max(differences, key=differences.get)
    return differences[name], name

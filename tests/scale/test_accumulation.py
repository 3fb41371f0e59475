"""A training step in parts is the step of the whole batch, on one device.

On two devices: `test_mirrored_strategy.py`, `test_jax_distribution.py`.
"""

import keras
import numpy as np
import pytest
import runs


def run(stage, accumulation, **options):
    model = runs.make_model(stage, **options)
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, global_clipnorm=0.1),
        gradient_accumulation_steps=accumulation,
    )
    return runs.train(model, stage, thorough=False)


@pytest.mark.parametrize("stage", runs.STAGES)
def test_two_parts_of_four_are_eight(stage):
    options = {} if stage == "prior" else {"filled": True}
    whole, parts = run(stage, 1, **options), run(stage, 2, **options)
    difference, name = runs.largest_difference(parts, whole)
    print(f"{stage}: {len(whole)} arrays, {difference:.1e} at {name}")
    assert difference < 1e-5, name
    assert stage == "prior" or whole["restarts"] > 3


def test_empty_codebook_is_filled_at_the_end_of_the_first_step():
    model = runs.make_model("vqvae")
    model.compile(keras.optimizers.SGD(0.0), gradient_accumulation_steps=4)
    images = runs.examples("vqvae", runs.BATCH)
    model.fit(images, batch_size=runs.BATCH, verbose=0)
    for quantizer in model.quantizers:
        assert float(quantizer.initialized.value) == 1
        codebook = keras.ops.convert_to_numpy(quantizer.codebook)
        assert len(np.unique(codebook, axis=0)) == 16
    logs = model.fit(
        images, batch_size=runs.BATCH, shuffle=False, verbose=0
    ).history
    # Of the data, not of the initializer: nearly all codes are used.
    assert logs["usage_top"][0] > 0.5


def test_bad_step_changes_nothing():
    model = runs.make_model("vqvae")
    model.compile("adam", gradient_accumulation_steps=2)
    images = runs.examples("vqvae", runs.BATCH).astype("float32")
    model.fit(images, batch_size=runs.BATCH, verbose=0)
    before = runs.weights(model)
    images[5, 1, 2, 0] = 1e30  # In one part alone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "keras_vqvae2.models.hierarchical_vqvae.check_training_images",
            lambda x, model: None,
        )
        logs = model.fit(images, batch_size=runs.BATCH, verbose=0).history
    assert logs["skipped_steps"] == [1]
    for name, value in runs.weights(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_saved_model_goes_on_in_parts(tmp_path):
    model = runs.make_model("vqvae")
    model.compile("adam", gradient_accumulation_steps=2)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    copy = keras.models.load_model(tmp_path / "model.keras")
    assert copy.gradient_accumulation_steps == 2

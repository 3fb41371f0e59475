import pathlib

from keras_vqvae2.backend.distribution import on_chief
from keras_vqvae2.backend.distribution import worker_dataset
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.data import image_dataset
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.models._inputs import check_image_size
from keras_vqvae2.recipes._run import check_output
from keras_vqvae2.recipes._run import run
from keras_vqvae2.recipes._run import validation_batches
from keras_vqvae2.training_options import TrainingOptions
from keras_vqvae2.visualization import figure3
from keras_vqvae2.vqvae2 import VQVAE2

tf = LazyModule("tensorflow")


def train_vqvae(
    vqvae,
    data,
    output,
    *,
    validation_data=None,
    validation_split="validation",
    image_size=256,
    validation_size=None,
    resize=None,
    data_dir=None,
    download=False,
    name=None,
    options=None,
):
    """Trains a `HierarchicalVQVAE` and saves it.

    `output` gets `checkpoint.safetensors` every few minutes, `history.csv`,
    `tensorboard/` with scalars and reconstructions, `arguments.json`, and at
    the end `model/`, which `from_pretrained` loads.

    Args:
        vqvae: `HierarchicalVQVAE`, untrained or trained.
        data: Folder of images, or `tfds:<name>`.
        output: Folder for the results.
        validation_data: The same for validation, or None.
        validation_split: Split of a TFDS data set for validation.
        image_size: Height and width of the random crops.
        validation_size: Height and width of the center crops for validation,
            `image_size` if None.
        resize: Length to which the shorter side of images is resized before
            cropping, or None to crop at their own resolution.
        data_dir: As for `tfds_dataset`, for TFDS data sets.
        download: As for `tfds_dataset`, for TFDS data sets.
        name: Name of the model; None takes the folder's.
        options: `TrainingOptions`.

    Returns:
        Tuple of the trained model as `VQVAE2` and its history, a dict of
        lists.

    Raises:
        FileExistsError: If `output` has a run already and `options.resume` is
            false.
        FileNotFoundError: If `options.resume` is true and there is no
            checkpoint.
        ValueError: If an argument does not fit.

    Example:

    ```python
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        hidden_dim=8, residual_dim=4, num_embeddings=16, embedding_dim=4
    )
    options = keras_vqvae2.recipes.TrainingOptions(
        steps=2, batch_size=2, warmup_steps=1, steps_per_epoch=2, verbose=0
    )
    model, history = keras_vqvae2.recipes.train_vqvae(
        vqvae, photos, folder / "run", image_size=32, options=options
    )
    assert len(history["loss"]) == 1
    ```
    """
    options = options or TrainingOptions()
    if name is None:
        name = pathlib.Path(output).resolve().name
        name = name if is_name(name) else "model"
    ModelConfig(name, VQVAEConfig.from_model(vqvae.get_config()))
    check_output(output, options)
    check_image_size(image_size, vqvae)
    if validation_size is not None:
        check_image_size(validation_size, vqvae)
    reading = {"resize": resize, "data_dir": data_dir, "download": download}

    def make_dataset(step):
        return worker_dataset(
            lambda shard: image_dataset(
                data,
                image_size,
                options.batch_size,
                training=True,
                seed=options.seed,
                start_step=step,
                shard=shard,
                **reading,
            ),
            options.batch_size,
        )

    make_dataset(0)  # Bad data is an error before anything is written.
    model = VQVAE2(vqvae, name, image_size=image_size)
    validation = make_picture = validated = None
    if validation_data is not None:

        def validation_dataset(batch_size, **kwargs):
            dataset = image_dataset(
                validation_data,
                validation_size or image_size,
                batch_size,
                split=validation_split,
                training=False,
                **reading,
                **kwargs,
            )
            # Unreadable files are skipped, so the size is known after a pass
            # only; Keras warns when a dataset of unknown size ends.
            size = sum(1 for _ in dataset)
            if not size:
                raise ValueError(f"{validation_data} has no readable image.")
            return dataset.apply(tf.data.experimental.assert_cardinality(size))

        size = validation_size or image_size
        validated = f"center crops of {size}x{size}, not whole images"
        validation = validation_batches(validation_dataset, options)
        examples = next(iter(validation_dataset(4))).numpy()

        def make_picture():
            return figure3(model, examples)

    history = run(
        vqvae,
        make_dataset,
        validation,
        output,
        {"data": str(data), "image_size": image_size},
        options,
        make_picture,
        validated,
    )
    folder = pathlib.Path(output) / "model"
    on_chief(lambda: model.save_pretrained(folder, overwrite=True))
    return model, history

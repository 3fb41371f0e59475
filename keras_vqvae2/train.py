"""Training of stage 1 from any image folder or TFDS name."""

import json
import pathlib

import keras

from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.data import tfds_dataset
from keras_vqvae2.files import atomic_path
from keras_vqvae2.models import VQVAE2
from keras_vqvae2.pictures import figure3
from keras_vqvae2.training import Muon
from keras_vqvae2.training import TrainingLog
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.training import resumable_fit

OPTIMIZERS = {"muon": Muon, "adam": keras.optimizers.Adam}
LEARNING_RATES = {"muon": 1e-3, "adam": 3e-4}
_TFDS = "tfds:"


def image_dataset(data, image_size, batch_size, *, split="train", **kwargs):
    """Dataset of a folder of images, or of a TFDS name.

    Args:
        data: Path of a folder, or `tfds:<name>`.
        image_size: Height and width of the crops.
        batch_size: Images in a batch.
        split: Split of a TFDS data set.
        **kwargs: As for `image_folder_dataset`.

    Returns:
        `tf.data.Dataset` of uint8 batches.
    """
    if str(data).startswith(_TFDS):
        name = str(data)[len(_TFDS) :]
        return tfds_dataset(name, image_size, batch_size, split=split, **kwargs)
    return image_folder_dataset(data, image_size, batch_size, **kwargs)


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
    batch_size=128,
    steps=250_000,
    optimizer="muon",
    learning_rate=None,
    warmup_steps=100,
    decay_steps=0,
    clip_norm=1.0,
    seed=0,
    steps_per_epoch=500,
    checkpoint_minutes=5.0,
    resume=False,
    verbose="auto",
):
    """Trains a `HierarchicalVQVAE` and saves it.

    `output` gets `checkpoint.safetensors` every few minutes, `history.csv`,
    `tensorboard/` with scalars and reconstructions, `arguments.json`, and at
    the end `model/`, which `from_pretrained` reads.

    Args:
        vqvae: `HierarchicalVQVAE`, fresh or trained.
        data: Folder of images, or `tfds:<name>`.
        output: Folder for the results.
        validation_data: The same for validation, or None.
        validation_split: Split of a TFDS data set for validation.
        image_size: Height and width of the random crops.
        validation_size: Height and width of the centre crops for validation,
            `image_size` if None.
        resize: Shorter side that images are resized to before cropping, or
            None to crop at their own resolution.
        batch_size: Images in a batch.
        steps: Training steps in all.
        optimizer: `"muon"`, or `"adam"` as in the paper.
        learning_rate: Peak learning rate, or None for `LEARNING_RATES`.
        warmup_steps: Steps of linear rise of the learning rate.
        decay_steps: Steps of linear fall to zero at the end.
        clip_norm: Norm to which the gradient of all weights is clipped.
        seed: Seeds the order of images, crops and flips.
        steps_per_epoch: Steps between validations and logs.
        checkpoint_minutes: Minutes between checkpoints.
        resume: Whether to go on from the checkpoint in `output`.
        verbose: As for `fit`.

    Returns:
        Tuple of the trained model as `VQVAE2` and its history, a dict of
        lists.

    Raises:
        FileExistsError: If `output` holds a run and `resume` is false.
        FileNotFoundError: If `resume` is true and there is no checkpoint.
        ValueError: If an argument does not fit.
    """
    import tensorflow as tf

    output = pathlib.Path(output)
    checkpoint = output / "checkpoint.safetensors"
    if resume and not checkpoint.exists():
        raise FileNotFoundError(
            f"There is nothing to resume: {checkpoint} does not exist. Leave "
            "out --resume to start a new run."
        )
    if not resume and checkpoint.exists():
        raise FileExistsError(
            f"{output} holds a run already. Go on with it by --resume, or "
            "choose another --output."
        )
    if image_size % vqvae.total_stride:
        raise ValueError(
            f"The image size must be a multiple of {vqvae.total_stride}, the "
            f"model's total stride. Received: {image_size}"
        )
    if optimizer not in OPTIMIZERS:
        raise ValueError(
            f"The optimizer must be one of {', '.join(OPTIMIZERS)}. Received: "
            f"{optimizer!r}"
        )
    if learning_rate is None:
        learning_rate = LEARNING_RATES[optimizer]
    schedule = WarmupStableDecay(
        learning_rate, steps, warmup_steps, decay_steps
    )
    vqvae.compile(OPTIMIZERS[optimizer](schedule, global_clipnorm=clip_norm))

    def make_dataset(step):
        return image_dataset(
            data,
            image_size,
            batch_size,
            training=True,
            resize=resize,
            seed=seed,
            start_step=step,
        )

    make_dataset(0)  # Bad data is an error before anything is written.
    model = VQVAE2(vqvae)
    validation = make_picture = None
    if validation_data is not None:
        validation = image_dataset(
            validation_data,
            validation_size or image_size,
            min(batch_size, 16),
            split=validation_split,
            training=False,
            resize=resize,
        )
        # Unreadable files are left out, so the size is known after a pass;
        # Keras takes the end of a set of unknown size for a fault.
        validation = validation.apply(
            tf.data.experimental.assert_cardinality(sum(1 for _ in validation))
        )
        examples = next(iter(validation.take(1))).numpy()[:4]

        def make_picture():
            return figure3(model, examples)

    arguments = {
        "data": str(data),
        "model": _plain(vqvae.get_config()),
        "image_size": image_size,
        "batch_size": batch_size,
        "steps": steps,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "warmup_steps": warmup_steps,
        "decay_steps": decay_steps,
        "clip_norm": clip_norm,
        "seed": seed,
    }

    def write_arguments(logs):
        with atomic_path(output / "arguments.json") as temporary:
            temporary.write_text(json.dumps(arguments, indent=2) + "\n")

    history = resumable_fit(
        vqvae,
        make_dataset,
        steps,
        checkpoint,
        steps_per_epoch=steps_per_epoch,
        checkpoint_minutes=checkpoint_minutes,
        resume=resume,
        validation_data=validation,
        callbacks=[
            # Once the checkpoint is known to fit.
            keras.callbacks.LambdaCallback(on_train_begin=write_arguments),
            TrainingLog(output, make_picture),
        ],
        verbose=verbose,
    )
    model.save_pretrained(output / "model", overwrite=True)
    return model, history


def _plain(config):
    return {
        name: value
        for name, value in config.items()
        if isinstance(value, (int, float, str, tuple, list, type(None)))
    }

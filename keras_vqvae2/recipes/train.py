"""Training of both stages: images to a model, codes to its priors."""

import dataclasses
import json
import pathlib

import keras

from keras_vqvae2.backend.distribution import is_chief
from keras_vqvae2.backend.distribution import num_replicas
from keras_vqvae2.backend.distribution import on_chief
from keras_vqvae2.backend.distribution import worker_dataset
from keras_vqvae2.data import code_dataset
from keras_vqvae2.data import image_dataset
from keras_vqvae2.data import read_code_shards
from keras_vqvae2.files import atomic_path
from keras_vqvae2.recipes.training_options import LEARNING_RATES
from keras_vqvae2.recipes.training_options import OPTIMIZERS
from keras_vqvae2.recipes.training_options import TrainingOptions
from keras_vqvae2.training import TrainingLog
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.training import resumable_fit
from keras_vqvae2.visualization import figure3
from keras_vqvae2.vqvae2 import VQVAE2

_CHECKPOINT = "checkpoint.safetensors"


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
    options=None,
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
        options: `TrainingOptions`.

    Returns:
        Tuple of the trained model as `VQVAE2` and its history, a dict of
        lists.

    Raises:
        FileExistsError: If `output` holds a run and `resume` is false.
        FileNotFoundError: If `resume` is true and there is no checkpoint.
        ValueError: If an argument does not fit.
    """
    import tensorflow as tf

    options = options or TrainingOptions()
    _check_output(output, options)
    if image_size % vqvae.total_stride:
        raise ValueError(
            f"The image size must be a multiple of {vqvae.total_stride}, the "
            f"model's total stride. Received: {image_size}"
        )

    def make_dataset(step):
        return worker_dataset(
            lambda shard: image_dataset(
                data,
                image_size,
                options.batch_size,
                training=True,
                resize=resize,
                seed=options.seed,
                start_step=step,
                shard=shard,
            ),
            options.batch_size,
        )

    make_dataset(0)  # Bad data is an error before anything is written.
    model = VQVAE2(vqvae)
    validation = make_picture = None
    if validation_data is not None:

        def validation_dataset(batch_size, **kwargs):
            dataset = image_dataset(
                validation_data,
                validation_size or image_size,
                batch_size,
                split=validation_split,
                training=False,
                resize=resize,
                **kwargs,
            )
            # Unreadable files are left out, so the size is known after a
            # pass; Keras takes the end of a set of unknown size for a fault.
            return dataset.apply(
                tf.data.experimental.assert_cardinality(sum(1 for _ in dataset))
            )

        validation = _validation(validation_dataset, options)
        examples = next(iter(validation_dataset(4))).numpy()

        def make_picture():
            return figure3(model, examples)

    arguments = {"data": str(data), "image_size": image_size}
    history = _train(
        vqvae,
        make_dataset,
        validation,
        output,
        arguments,
        options,
        make_picture,
    )
    folder = pathlib.Path(output) / "model"
    on_chief(lambda: model.save_pretrained(folder, overwrite=True))
    return model, history


def train_prior(
    model, level, prior, codes, output, *, validation_codes=None, options=None
):
    """Trains the `PixelSNAILPrior` of one level and saves the whole model.

    `output` gets what `train_vqvae` writes there; its `model/` is `model` with
    the new prior.

    Args:
        model: `VQVAE2` that the codes are of.
        level: Name of the level: `"top"`, ...
        prior: `PixelSNAILPrior`, fresh or trained.
        codes: Folder that `write_code_shards` wrote.
        output: Folder for the results.
        validation_codes: The same for validation, or None.
        options: `TrainingOptions`.

    Returns:
        Tuple of the model with the prior, a `VQVAE2`, and the prior's
        history, a dict of lists.

    Raises:
        FileExistsError: If `output` holds a run and `resume` is false.
        FileNotFoundError: If `resume` is true and there is no checkpoint, or
            there are no codes.
        ValueError: If the codes do not fit the prior, or an argument does not
            fit.
    """
    options = options or TrainingOptions()
    _check_output(output, options)
    trained = VQVAE2(model.vqvae, model.name, model.priors | {level: prior})
    maps, labels = _prior_data(model, level, prior, codes)

    def make_dataset(step):
        return worker_dataset(
            lambda shard: code_dataset(
                maps,
                labels,
                options.batch_size,
                seed=options.seed,
                start_step=step,
                shard=shard,
            ),
            options.batch_size,
        )

    make_dataset(0)
    validation = None
    if validation_codes is not None:
        arrays = _prior_data(model, level, prior, validation_codes)
        validation = _validation(
            lambda batch_size, **kwargs: code_dataset(
                *arrays, batch_size, training=False, **kwargs
            ),
            options,
        )
    arguments = {"codes": str(codes), "level": level}
    history = _train(
        prior, make_dataset, validation, output, arguments, options
    )
    folder = pathlib.Path(output) / "model"
    on_chief(lambda: trained.save_pretrained(folder, overwrite=True))
    return trained, history


def _validation(make_dataset, options):
    """Validation batches, shared by the devices that there are."""
    batch_size = min(options.batch_size, 16)
    replicas = num_replicas()
    if replicas == 1:
        return make_dataset(batch_size)
    batch_size = -(-batch_size // replicas) * replicas
    return worker_dataset(
        lambda shard: make_dataset(
            batch_size, shard=shard, drop_remainder=True
        ),
        batch_size,
    )


def _prior_data(model, level, prior, folder):
    """`(maps, labels)` of a folder of codes, as the prior needs them."""
    codes, labels, index = read_code_shards(folder)
    names = model.vqvae.level_names
    maps = list(codes.values())[: names.index(level) + 1]
    sizes = tuple(m.shape[1:] for m in maps)
    if (tuple(codes), index["num_embeddings"]) != (
        names,
        model.vqvae.num_embeddings,
    ):
        raise ValueError(
            f"{folder} has codes of {index['num_embeddings']} embeddings and "
            f"the levels {', '.join(codes)}; they are not of this model."
        )
    if sizes != prior.sizes:
        raise ValueError(
            f"The prior is for maps of the sizes {prior.sizes}. {folder} has "
            f"{sizes}."
        )
    if prior.num_classes is None:
        labels = None
    elif labels is None:
        raise ValueError(
            f"The prior is class-conditional, but {folder} has no labels: "
            "extract the codes of a data set with classes, or leave out "
            "`num_classes`."
        )
    elif labels.max() >= prior.num_classes:
        raise ValueError(
            f"The prior has {prior.num_classes} classes. {folder} has the "
            f"label {labels.max()}."
        )
    return maps, labels


def _check_output(output, options):
    checkpoint = pathlib.Path(output) / _CHECKPOINT
    if options.resume and not checkpoint.exists():
        raise FileNotFoundError(
            f"There is nothing to resume: {checkpoint} does not exist. Leave "
            "out --resume to start a new run."
        )
    if not options.resume and checkpoint.exists():
        raise FileExistsError(
            f"{output} holds a run already. Go on with it by --resume, or "
            "choose another --output."
        )


def _train(
    model,
    make_dataset,
    validation,
    output,
    arguments,
    options,
    make_picture=None,
):
    """Trains a model of either stage; its history."""
    output = pathlib.Path(output)
    if options.optimizer not in OPTIMIZERS:
        raise ValueError(
            f"The optimizer must be one of {', '.join(OPTIMIZERS)}. Received: "
            f"{options.optimizer!r}"
        )
    learning_rate = options.learning_rate
    if learning_rate is None:
        learning_rate = LEARNING_RATES[options.optimizer]
    schedule = WarmupStableDecay(
        learning_rate, options.steps, options.warmup_steps, options.decay_steps
    )
    model.compile(
        OPTIMIZERS[options.optimizer](
            schedule, global_clipnorm=options.clip_norm
        ),
        gradient_accumulation_steps=options.gradient_accumulation_steps,
    )
    arguments = {
        **arguments,
        "model": _plain(model.get_config()),
        **dataclasses.asdict(options),
        "learning_rate": learning_rate,
    }

    def write_arguments(logs):
        if not is_chief():
            return
        with atomic_path(output / "arguments.json") as temporary:
            temporary.write_text(json.dumps(arguments, indent=2) + "\n")

    return resumable_fit(
        model,
        make_dataset,
        options.steps,
        output / _CHECKPOINT,
        steps_per_epoch=options.steps_per_epoch,
        checkpoint_minutes=options.checkpoint_minutes,
        resume=options.resume,
        validation_data=validation,
        callbacks=[
            # Once the checkpoint is known to fit.
            keras.callbacks.LambdaCallback(on_train_begin=write_arguments),
            *([TrainingLog(output, make_picture)] if is_chief() else []),
        ],
        verbose=options.verbose,
    )


def _plain(config):
    return {
        name: value
        for name, value in config.items()
        if isinstance(value, (int, float, str, tuple, list, type(None)))
    }

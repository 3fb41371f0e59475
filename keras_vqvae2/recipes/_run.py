"""What the trainings of both stages share: one run in an output folder."""

import dataclasses
import json
import pathlib

import keras

from keras_vqvae2.backend.distribution import is_chief
from keras_vqvae2.backend.distribution import num_replicas
from keras_vqvae2.backend.distribution import worker_dataset
from keras_vqvae2.files import atomic_path
from keras_vqvae2.files import check_writable
from keras_vqvae2.training import Muon
from keras_vqvae2.training import TrainingLog
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.training import resumable_fit
from keras_vqvae2.training_options import LEARNING_RATES

OPTIMIZERS = {"muon": Muon, "adam": keras.optimizers.Adam}
CHECKPOINT = "checkpoint.safetensors"


def check_output(output, options):
    """Raises unless a run can start, or resume, in a folder.

    Raises:
        FileExistsError: If there is a run already that is not resumed.
        FileNotFoundError: If there is none to resume.
        OSError: If nothing can be written there.
    """
    check_writable(output, folder=True)
    checkpoint = pathlib.Path(output) / CHECKPOINT
    if options.resume and not checkpoint.exists():
        raise FileNotFoundError(
            f"There is nothing to resume: {checkpoint} does not exist. Start a "
            "new run without `resume`."
        )
    if not options.resume and checkpoint.exists():
        raise FileExistsError(
            f"{output} has a run already. Go on with it by `resume=True`, or "
            "choose another `output`."
        )


def validation_batches(make_dataset, options):
    """Validation batches, shared by all devices."""
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


def run(
    model,
    make_dataset,
    validation,
    output,
    arguments,
    options,
    make_picture=None,
    validated=None,
):
    """Trains a model of either stage.

    Args:
        model: `HierarchicalVQVAE` or `PixelSNAILPrior`.
        make_dataset: As for `resumable_fit`.
        validation: Validation batches, or None.
        output: Folder for the results.
        arguments: Dict for `arguments.json`, beside model and options.
        options: `TrainingOptions`.
        make_picture: As for `TrainingLog`.
        validated: `validation` of `TrainingLog`.

    Returns:
        The history, a dict of lists.
    """
    output = pathlib.Path(output)
    learning_rate = options.learning_rate
    if learning_rate is None:
        learning_rate = LEARNING_RATES[options.optimizer]
    schedule = WarmupStableDecay(
        learning_rate, options.steps, options.warmup_steps, options.decay_steps
    )
    average = {}
    if options.ema_momentum is not None:
        average = {"use_ema": True, "ema_momentum": options.ema_momentum}
    model.compile(
        OPTIMIZERS[options.optimizer](
            schedule, global_clipnorm=options.clip_norm, **average
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
        output / CHECKPOINT,
        steps_per_epoch=options.steps_per_epoch,
        checkpoint_minutes=options.checkpoint_minutes,
        resume=options.resume,
        validation_data=validation,
        callbacks=[
            # Once the checkpoint is known to fit.
            keras.callbacks.LambdaCallback(on_train_begin=write_arguments),
            *([keras.callbacks.SwapEMAWeights()] if average else []),
            *(
                [TrainingLog(output, make_picture, True, validated)]
                if is_chief()
                else []
            ),
        ],
        verbose=options.verbose,
    )


def _plain(config):
    return {
        name: value
        for name, value in config.items()
        if isinstance(value, (int, float, str, tuple, list, type(None)))
    }

"""What the scripts for the bundled models share: a budget, a card."""

import argparse
import dataclasses
import pathlib
import time

import keras

from keras_vqvae2.cli.main import main as command
from keras_vqvae2.hub.presets import find_preset
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.recipes.train_two_stages import train_two_stages
from keras_vqvae2.recipes.train_vqvae import train_vqvae


def parser(description, hours):
    """Arguments of each script.

    Args:
        description: One line.
        hours: Hours that the published weights took.
    """
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--data", type=pathlib.Path, required=True)
    result.add_argument("--output", type=pathlib.Path, required=True)
    result.add_argument(
        "--budget",
        type=float,
        metavar="HOURS",
        default=hours,
        help="scales the steps of all phases; the default is that of the "
        "published weights, on two CPU cores (default: %(default)s)",
    )
    result.add_argument("--dtype", default="mixed_bfloat16")
    result.add_argument("--checkpoint-minutes", type=float, default=4.0)
    return result


def run(
    args,
    preset,
    options,
    *,
    hours,
    context,
    test_data,
    image_size,
    crop_size=None,
    resize=None,
    level_dropout=0.02,
    evaluate=(),
    **kwargs,
):
    """Trains all phases of a preset and writes the card.

    Images and codes first, then a prior of each level if `options` has any,
    then the context model of code files. The whole model is
    `OUTPUT/<preset>`.

    Args:
        args: What `parser` parsed.
        preset: Name in `keras_vqvae2.hub.presets`.
        options: `TrainingOptions` by phase: `"vqvae"` and each level, or
            `"vqvae"` alone.
        hours: Hours that these options take.
        context: Arguments of `keras-vqvae2 train-context`.
        test_data: Folder of images that no phase sees.
        image_size: Height and width of the images.
        crop_size: Those of the crops that stage 1 trains on, if it is alone.
        resize: As for `train_two_stages`.
        level_dropout: As for `HierarchicalVQVAE`, in stage 1.
        evaluate: Further arguments of `keras-vqvae2 evaluate`.
        **kwargs: Further arguments of `train_two_stages`.
    """
    if not args.budget > 0:
        raise ValueError(
            f"`--budget` must be a number above 0. Received: {args.budget}"
        )
    started = time.monotonic()
    sizes = find_preset(preset)
    scaled = {
        name: _scaled(phase, args.budget / hours, args.checkpoint_minutes)
        for name, phase in options.items()
    }
    for name, phase in scaled.items():
        print(f"{name}: {phase.steps} steps of {phase.batch_size}", flush=True)
    keras.utils.set_random_seed(0)
    train = args.data / "train"
    vqvae = {**sizes.vqvae, "level_dropout": level_dropout}
    data_options = [] if resize is None else ["--resize", resize]
    if len(scaled) > 1:
        train_two_stages(
            str(train),
            args.output,
            vqvae=vqvae,
            priors=sizes.priors,
            vqvae_options=scaled.pop("vqvae"),
            prior_options=scaled,
            validation_data=str(test_data),
            dtype=args.dtype,
            image_size=image_size,
            resize=resize,
            **kwargs,
        )
        model = args.output / list(sizes.priors)[-1] / "model"
    else:
        stage1 = args.output / "vqvae"
        model = stage1 / "model"
        checkpoint = stage1 / "checkpoint.safetensors"
        if not model.exists():
            train_vqvae(
                HierarchicalVQVAE(**vqvae, dtype=args.dtype),
                str(train),
                stage1,
                validation_data=str(test_data),
                image_size=crop_size or image_size,
                # As the card's figures are, not the crops'.
                validation_size=image_size,
                resize=resize,
                options=dataclasses.replace(
                    scaled["vqvae"], resume=checkpoint.exists()
                ),
            )
        if not (args.output / "codes" / "index.json").exists():
            _command(
                *("extract-codes", "--model", model, "--data", train),
                *("--output", args.output / "codes", "--mirrored"),
                *("--image-size", image_size, *data_options),
            )
    whole = args.output / preset
    if not whole.exists():
        _command(
            *("train-context", "--model", model, "--output", whole),
            *("--codes", args.output / "codes", *context),
        )
    minutes = (time.monotonic() - started) / 60
    print(f"Trained in {minutes:.1f} minutes, since the last start: {whole}")
    _command(
        *("evaluate", "--model", whole, "--data", train, "--write-card"),
        *("--test-data", test_data, "--output", args.output / "metrics"),
        *("--image-size", image_size, *data_options, *evaluate),
    )


def _command(*arguments):
    if command([str(argument) for argument in arguments]):
        raise SystemExit(f"{arguments[0]} failed; what came before is kept.")


def _scaled(options, factor, checkpoint_minutes):
    def steps(number, least):
        return max(round(number * factor), least)

    return dataclasses.replace(
        options,
        steps=steps(options.steps, 4),
        warmup_steps=steps(options.warmup_steps, 1),
        decay_steps=steps(options.decay_steps, 1),
        steps_per_epoch=min(options.steps_per_epoch, steps(options.steps, 4)),
        checkpoint_minutes=checkpoint_minutes,
    )

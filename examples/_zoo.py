"""What the scripts for the bundled models share: a budget, a card."""

import argparse
import dataclasses
import pathlib
import time

import keras

from keras_vqvae2.cli.main import main as command
from keras_vqvae2.hub.presets import find_preset
from keras_vqvae2.recipes.train_two_stages import train_two_stages


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
    test_data,
    level_dropout=0.02,
    evaluate=(),
    **kwargs,
):
    """Trains all phases of a preset and writes the card.

    Args:
        args: What `parser` parsed.
        preset: Name in `keras_vqvae2.hub.presets`.
        options: `TrainingOptions` by phase: `"vqvae"` and each level.
        hours: Hours that these options take.
        test_data: Folder of images that no phase sees.
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
    train_two_stages(
        str(args.data / "train"),
        args.output,
        vqvae={**sizes.vqvae, "level_dropout": level_dropout},
        priors=sizes.priors,
        vqvae_options=scaled.pop("vqvae"),
        prior_options=scaled,
        validation_data=str(test_data),
        dtype=args.dtype,
        **kwargs,
    )
    finest = list(sizes.priors)[-1]
    model = args.output / finest / "model"
    minutes = (time.monotonic() - started) / 60
    print(f"Trained in {minutes:.1f} minutes, since the last start: {model}")
    arguments = ["evaluate", "--model", model, "--test-data", test_data]
    arguments += ["--data", args.data / "train", "--output"]
    arguments += [args.output / "metrics", "--write-card", *evaluate]
    if command([str(argument) for argument in arguments]):
        raise SystemExit("The model is trained; its card is not written.")


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

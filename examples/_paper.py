"""What the scripts for ImageNet and FFHQ share: arguments and schedules."""

import argparse
import pathlib

import keras

from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.recipes import TrainingOptions
from keras_vqvae2.recipes.train_two_stages import train_two_stages
from keras_vqvae2.training import distribute

# What `--smoke` makes of the tables: the same code, in a minute on a CPU.
SMOKE_VQVAE = {
    "hidden_dim": 8,
    "residual_dim": 4,
    "num_residual_blocks": 1,
    "num_embeddings": 16,
    "embedding_dim": 4,
}
SMOKE_PRIOR = {
    "hidden_dim": 8,
    "residual_dim": 8,
    "num_blocks": 2,
    "kernel_size": 3,
    "num_heads": 2,
    "dropout": 0.0,
}


def parser(description):
    """Arguments of both scripts."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--output", type=pathlib.Path, required=True)
    result.add_argument("--validation-data", help="as --data, for stage 1")
    result.add_argument(
        "--strategy",
        choices=("none", "mirrored", "multiworker", "tpu"),
        default="none",
        help="devices: one, all of this machine, of several, TPU",
    )
    result.add_argument(
        "--optimizer",
        choices=("muon", "adam"),
        default="adam",
        help="the paper has adam, at 3e-4; muon needs fewer steps",
    )
    result.add_argument("--dtype", default="mixed_bfloat16")
    result.add_argument(
        "--accumulate",
        type=int,
        default=1,
        help="parts in which each device goes through its share of a batch",
    )
    result.add_argument(
        "--rematerialize",
        action="store_true",
        help="priors: compute activations again, a fraction of the memory",
    )
    result.add_argument("--checkpoint-minutes", type=float, default=10.0)
    result.add_argument(
        "--smoke",
        action="store_true",
        help="the same with tiny models and images, to see it work",
    )
    return result


def run(
    args, preset, image_size, steps, batch_sizes, num_classes=None, **kwargs
):
    """Trains a preset at the sizes of the paper's tables.

    Args:
        args: What `parser` parsed, with `data`.
        preset: Name in `keras_vqvae2.hub.presets`.
        image_size: Height and width of the images.
        steps: Training steps of `"vqvae"` and of each level's prior.
        batch_sizes: Images of a step, the same way.
        num_classes: Number of classes of the priors, or None.
        **kwargs: Further arguments of `train_two_stages`.
    """
    vqvae, priors = PRESETS[preset].vqvae, PRESETS[preset].priors
    if args.smoke:
        vqvae = {**vqvae, **SMOKE_VQVAE}
        priors = {
            level: {
                **prior,
                **SMOKE_PRIOR,
                "num_attention_layers": min(prior["num_attention_layers"], 1),
                "num_output_blocks": min(prior["num_output_blocks"], 1),
                "num_conditioning_blocks": min(
                    prior.get("num_conditioning_blocks", 0), 1
                ),
            }
            for level, prior in priors.items()
        }
        image_size //= 4
        kwargs["resize"] = image_size
        steps = dict.fromkeys(steps, 4)
        batch_sizes = dict.fromkeys(batch_sizes, 4)
    priors = {
        level: {
            **prior,
            "num_classes": num_classes,
            "rematerialize": args.rematerialize,
        }
        for level, prior in priors.items()
    }

    def options(name):
        return TrainingOptions(
            steps=steps[name],
            batch_size=batch_sizes[name],
            optimizer=args.optimizer,
            warmup_steps=min(1000, steps[name] // 4),
            steps_per_epoch=min(1000, steps[name] // 2),
            gradient_accumulation_steps=args.accumulate,
            checkpoint_minutes=args.checkpoint_minutes,
            verbose=0,
        )

    keras.utils.set_random_seed(0)
    with distribute(args.strategy) as num_replicas:
        print(f"{num_replicas} devices, {keras.backend.backend()}", flush=True)
        train_two_stages(
            args.data,
            args.output,
            vqvae=vqvae,
            priors=priors,
            image_size=image_size,
            validation_data=args.validation_data,
            vqvae_options=options("vqvae"),
            prior_options={level: options(level) for level in priors},
            dtype=args.dtype,
            num_samples=2 if args.smoke else 16,
            **kwargs,
        )
    finest = list(priors)[-1]
    print(f"The model, for from_pretrained: {args.output / finest / 'model'}")
    print(f"New pictures: {args.output / 'samples.png'}")

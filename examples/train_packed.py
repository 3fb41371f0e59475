"""Stage 1 from one file of packed images: on a GPU, without TensorFlow.

    python examples/train_packed.py pack --data PHOTOS/train --size 272 \
        --output train.npy
    KERAS_BACKEND=jax python examples/train_packed.py train --data train.npy \
        --validation-data val.npy --preset vqvae2-imagenet256 \
        --image-size 128 --batch-size 128 --steps 50000 --output runs/packed

Images are read into memory whole, the steps run in bfloat16. Run it again after
a kill: it goes on where it was. `--weights MODEL` starts from a trained model.
"""

import argparse
import pathlib

import keras
import numpy as np

import keras_vqvae2
from keras_vqvae2.data import pack_images
from keras_vqvae2.data import packed_batches
from keras_vqvae2.hub.presets import find_preset
from keras_vqvae2.interrupts import run_program
from keras_vqvae2.training import Muon
from keras_vqvae2.training import TrainingLog
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.training import resumable_fit


def train(args):
    images = np.load(args.data)
    keras.utils.set_random_seed(args.seed)
    vqvae = keras_vqvae2.HierarchicalVQVAE(
        **find_preset(args.preset).vqvae,
        level_dropout=args.level_dropout,
        dtype=args.dtype,
    )
    if args.weights:
        trained = keras_vqvae2.from_pretrained(args.weights).vqvae
        vqvae.set_weights(trained.get_weights())
    rate = WarmupStableDecay(
        args.learning_rate, args.steps, args.warmup_steps, args.decay_steps
    )
    vqvae.compile(Muon(rate, global_clipnorm=1.0))
    validation_data = None
    if args.validation_data:
        validation_data = np.load(args.validation_data)
    resumable_fit(
        vqvae,
        lambda step: packed_batches(
            images,
            args.image_size,
            args.batch_size,
            start_step=step,
            seed=args.seed,
        ),
        args.steps,
        args.output / "checkpoint.safetensors",
        steps_per_epoch=min(args.steps_per_epoch, args.steps),
        checkpoint_minutes=args.checkpoint_minutes,
        validation_data=validation_data,
        validation_batch_size=8,
        callbacks=[TrainingLog(args.output)],
        verbose=0,
    )
    model = keras_vqvae2.VQVAE2(vqvae)
    model.save_pretrained(args.output / "model", overwrite=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    pack = commands.add_parser("pack")
    pack.add_argument("--data", required=True, help="folder of images")
    pack.add_argument("--size", type=int, default=272)
    pack.add_argument("--output", required=True, help="file.npy")
    fit = commands.add_parser("train")
    fit.add_argument("--data", required=True, help="file written by pack")
    fit.add_argument("--validation-data", help="the same")
    fit.add_argument("--output", type=pathlib.Path, required=True)
    fit.add_argument("--preset", default="vqvae2-imagenet256")
    fit.add_argument("--weights", help="model to start from")
    fit.add_argument("--image-size", type=int, default=128)
    fit.add_argument("--batch-size", type=int, default=128)
    fit.add_argument("--steps", type=int, default=50000)
    fit.add_argument("--learning-rate", type=float, default=1e-3)
    fit.add_argument("--warmup-steps", type=int, default=100)
    fit.add_argument("--decay-steps", type=int, default=0)
    fit.add_argument("--level-dropout", type=float, default=0.02)
    fit.add_argument("--steps-per-epoch", type=int, default=500)
    fit.add_argument("--checkpoint-minutes", type=float, default=3)
    fit.add_argument("--dtype", default="mixed_bfloat16")
    fit.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.command == "pack":
        number = pack_images(args.data, args.output, args.size)
        print(f"{number} images: {args.output}")
    else:
        train(args)


if __name__ == "__main__":
    run_program(main)

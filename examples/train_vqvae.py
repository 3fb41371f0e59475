"""Trains a two-level VQ-VAE on a folder of images, with the public API only.

    python examples/train_vqvae.py --data PHOTOS --output runs/mine

Run it again after a kill: it goes on where it was. `keras-vqvae2 train` does
the same with more options; this file is for those who want to change more.
"""

import argparse
import pathlib

import keras_vqvae2
from keras_vqvae2.data import image_folder_dataset
from keras_vqvae2.interrupts import run_program


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of images")
    parser.add_argument("--validation-data", help="folder of images")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    # Table 5 of the paper: 256x256, batch 128, 2 207 444 steps.
    parser.add_argument("--strides", type=int, nargs="+", default=(4, 2))
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2_207_444)
    parser.add_argument("--steps-per-epoch", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--hidden-dim", type=int, default=128)
    parser.add_argument("--residual-dim", type=int, default=64)
    args = parser.parse_args()

    vqvae = keras_vqvae2.HierarchicalVQVAE(
        strides=args.strides,
        hidden_dim=args.hidden_dim,
        residual_dim=args.residual_dim,
    )
    # The paper has Adam at 3e-4; Muon needs fewer steps.
    vqvae.compile(
        keras_vqvae2.training.Muon(args.learning_rate, global_clipnorm=1.0)
    )

    def batches(start_step):
        return image_folder_dataset(
            args.data, args.image_size, args.batch_size, start_step=start_step
        )

    validation_data = None
    if args.validation_data:
        validation_data = image_folder_dataset(
            args.validation_data, args.image_size, 8, training=False
        )
    keras_vqvae2.training.resumable_fit(
        vqvae,
        batches,
        args.steps,
        args.output / "checkpoint.safetensors",
        steps_per_epoch=args.steps_per_epoch,
        validation_data=validation_data,
        callbacks=[keras_vqvae2.training.TrainingLog(args.output)],
    )
    keras_vqvae2.VQVAE2(vqvae).save_pretrained(
        args.output / "model", overwrite=True
    )


if __name__ == "__main__":
    run_program(main)

"""VQ-VAE-2 on ImageNet at 256x256, with the paper's tables 3 and 5.

    python examples/train_imagenet256.py --data tfds:imagenet2012 --output runs
    python examples/train_imagenet256.py --data TRAIN --output runs --smoke

`--data` is the TFDS name, or a folder with a folder per class. All stages in
turn: VQ-VAE, codes, a prior per level, new pictures, one class after another.
Run it again after a kill: it goes on where it was. KERAS_BACKEND chooses the
backend, `--strategy` the devices: docs/scaling.md.
"""

import _paper

import keras_vqvae2
from keras_vqvae2.interrupts import run_program


def main():
    parser = _paper.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="tfds:imagenet2012, or class folders"
    )
    args = parser.parse_args()
    num_classes = 1000
    if not args.data.startswith("tfds:"):
        num_classes = len(keras_vqvae2.data.class_names(args.data))
    _paper.run(
        args,
        "vqvae2-imagenet256",
        image_size=256,
        resize=256,
        labels=True,
        num_classes=num_classes,
        steps={"vqvae": 2_207_444, "top": 1_600_000, "bottom": 754_000},
        batch_sizes={"vqvae": 128, "top": 1024, "bottom": 512},
    )


if __name__ == "__main__":
    run_program(main)

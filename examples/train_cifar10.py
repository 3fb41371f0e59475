"""A model like vqvae2-cifar10: both stages of CIFAR-10.

    python examples/train_cifar10.py --data CIFAR10 --output runs/cifar10

CIFAR10 has the folders `train` and `test`, each with a folder of pictures for
each class. Stage 1, codes, a prior per level, new pictures, the context model,
the model card. Run it again after a kill: what is finished is kept, what was
under way goes on. With `--budget HOURS` it takes more or less steps of each
phase. The published weights took about as many steps of each, but in three
runs: the first with 512 codes a level, whose autoencoder and priors the second
went on with, on their clusters; the third trained the priors on.
"""

import _zoo

from keras_vqvae2.interrupts import run_program
from keras_vqvae2.training_options import TrainingOptions

HOURS = 4.6


def main():
    args = _zoo.parser(__doc__.splitlines()[0], HOURS).parse_args()
    prior = {"learning_rate": 2e-3, "verbose": 0}
    _zoo.run(
        args,
        "vqvae2-cifar10",
        {
            "vqvae": TrainingOptions(
                steps=2000, batch_size=128, decay_steps=1000, verbose=0
            ),
            "top": TrainingOptions(
                steps=5300, batch_size=128, decay_steps=4500, **prior
            ),
            "bottom": TrainingOptions(
                steps=4550, batch_size=64, decay_steps=3900, **prior
            ),
        },
        hours=HOURS,
        context=[
            *("--steps", 4000, "--num-neighbors", 10, "--coarse-dim", 192),
            *("--hidden-dims", 256, 192),
        ],
        test_data=args.data / "test",
        image_size=32,
        level_dropout=0.2,
        labels=True,
        evaluate=[
            *("--classifier", "cifar10-classifier", "--features", "classifier"),
            *("--guidance-scale", 1, 2),
        ],
    )


if __name__ == "__main__":
    run_program(main)

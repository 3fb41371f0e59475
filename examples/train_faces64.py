"""The weights of vqvae2-faces64: Labeled Faces in the Wild at 64x64.

    python examples/train_faces64.py --data FACES --output runs/faces64

FACES has the folders `train` and `val`, no person in both. Stage 1, codes, a
prior per level, new faces, the model card. Run it again after a kill: what is
finished is kept, what was under way goes on. With `--budget HOURS` it takes
more or less steps of each phase.
"""

import _zoo

from keras_vqvae2.interrupts import run_program
from keras_vqvae2.training_options import TrainingOptions

HOURS = 3.0


def main():
    args = _zoo.parser(__doc__.splitlines()[0], HOURS).parse_args()
    common = {"verbose": 0}
    prior = {"learning_rate": 2e-3, **common}
    _zoo.run(
        args,
        "vqvae2-faces64",
        {
            "vqvae": TrainingOptions(
                steps=12000, batch_size=64, decay_steps=8000, **common
            ),
            "top": TrainingOptions(
                steps=4000, batch_size=128, decay_steps=2500, **prior
            ),
            "bottom": TrainingOptions(
                steps=3000, batch_size=64, decay_steps=2000, **prior
            ),
        },
        hours=HOURS,
        context=[
            *("--steps", 6000, "--num-neighbors", 12, "--embedding-dim", 32),
            *("--coarse-dim", 192, "--hidden-dims", 256, 192),
        ],
        test_data=args.data / "val",
        image_size=64,
        resize=64,
        # A Frechet distance by Inception would need a download.
        evaluate=["--features", "none"],
    )


if __name__ == "__main__":
    run_program(main)

"""A model like vqvae2-imagenet256: stage 1 on a few thousand photographs.

    python examples/train_photos256.py --data PHOTOS --output runs/photos256

PHOTOS has the folders `train` and `val`, of photographs of 256 pixels and more
on each side. Stage 1, codes, the context model, the model card. Run it again
after a kill: what is finished is kept, what was under way goes on. With
`--budget HOURS` it takes more or less steps. The published weights took the
eight phases of their card; this is one run at the best of those settings. The
paper's run is `train_imagenet256.py`.
"""

import _zoo

from keras_vqvae2.interrupts import run_program
from keras_vqvae2.training_options import TrainingOptions

HOURS = 5.0


def main():
    args = _zoo.parser(__doc__.splitlines()[0], HOURS).parse_args()
    _zoo.run(
        args,
        "vqvae2-imagenet256",
        {
            "vqvae": TrainingOptions(
                steps=30000, batch_size=16, decay_steps=20000, verbose=0
            )
        },
        hours=HOURS,
        context=[
            *("--steps", 10000, "--num-neighbors", 16, "--coarse-dim", 384),
            *("--hidden-dims", 448, 320),
        ],
        test_data=args.data / "val",
        image_size=256,
        crop_size=128,
        evaluate=["--features", "none"],
    )


if __name__ == "__main__":
    run_program(main)

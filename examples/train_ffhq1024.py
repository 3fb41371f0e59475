"""VQ-VAE-2 on FFHQ at 1024x1024, with the paper's tables 4 and 5.

    python examples/train_ffhq1024.py --data images1024x1024 --output runs
    python examples/train_ffhq1024.py --data ffhq-r10.tfrecords --output runs

`--data` is the folder of PNG files as distributed (70 folders of 1000), or
NVlabs' TFRecords. All stages in turn: VQ-VAE, codes, a prior per level, new
pictures. Run it again after a kill: it goes on where it was. KERAS_BACKEND
chooses the backend, `--strategy` the devices: docs/scaling.md. `--smoke` shows
that it works, with tiny models.
"""

import _paper

from keras_vqvae2.interrupts import run_program


def main():
    parser = _paper.parser(__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help="folder of PNG files, or .tfrecords file"
    )
    args = parser.parse_args()
    _paper.run(
        args,
        "vqvae2-ffhq1024",
        image_size=1024,
        steps={
            "vqvae": 304_741,
            "top": 237_000,
            "middle": 57_400,
            "bottom": 270_000,
        },
        batch_sizes={"vqvae": 128, "top": 1024, "middle": 512, "bottom": 256},
        extract_batch_size=4,
    )


if __name__ == "__main__":
    run_program(main)

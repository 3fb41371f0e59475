"""Both stages on a folder of small images: from pictures to new pictures.

    python examples/two_stage.py --data PHOTOS --output runs/two_stage

On two CPU cores this takes some minutes, and the new pictures show it: it is
the whole way in one file (algorithms 1 and 2), to copy and to enlarge. With one
folder per class in PHOTOS, `--labels` makes the priors class-conditional. Run
it again after a kill: what is finished is kept, what was under way goes on.
"""

import argparse
import pathlib

import keras_vqvae2
from keras_vqvae2.data import image_dataset
from keras_vqvae2.interrupts import run_program
from keras_vqvae2.recipes import TrainingOptions
from keras_vqvae2.recipes.train_two_stages import train_two_stages
from keras_vqvae2.visualization import figure3
from keras_vqvae2.visualization import save_image


def options(args, steps):
    return TrainingOptions(
        steps=steps,
        batch_size=args.batch_size,
        warmup_steps=steps // 20,
        decay_steps=steps // 2,
        steps_per_epoch=max(steps // 5, 1),
        checkpoint_minutes=2,
        verbose=0,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of images")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--labels", action="store_true")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--resize", type=int, help="shorter side, in pixels")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--vqvae-steps", type=int, default=200)
    parser.add_argument("--prior-steps", type=int, default=200)
    parser.add_argument("--hidden-dim", type=int, default=64)
    args = parser.parse_args()

    num_classes = None
    if args.labels:
        num_classes = len(keras_vqvae2.data.class_names(args.data))
    prior = {
        "hidden_dim": args.hidden_dim,
        "residual_dim": args.hidden_dim,
        "num_blocks": 4,
        "kernel_size": 3,
        "num_heads": 2,
        "num_output_blocks": 1,
        "num_classes": num_classes,
    }
    model = train_two_stages(
        args.data,
        args.output,
        # Stage 1 (algorithm 1): images to codes and back.
        vqvae={
            "strides": (2, 2),
            "hidden_dim": args.hidden_dim,
            "residual_dim": args.hidden_dim // 2,
            "num_embeddings": 128,
            "embedding_dim": 32,
            # The top map must hold something by itself.
            "level_dropout": 0.2,
        },
        # Stage 2 (algorithm 2): the distribution of the codes, level by level.
        priors={
            "top": {**prior, "num_attention_layers": 2},
            "bottom": {
                **prior,
                "num_attention_layers": 0,
                "num_conditioning_blocks": 2,
            },
        },
        image_size=args.image_size,
        resize=args.resize,
        labels=args.labels,
        vqvae_options=options(args, args.vqvae_steps),
        prior_options=dict.fromkeys(
            ("top", "bottom"), options(args, args.prior_steps)
        ),
        extract_batch_size=args.batch_size,
        generate_options={"batch_size": 16, "top_p": 0.95},
    )
    images = image_dataset(
        args.data, args.image_size, 8, training=False, resize=args.resize
    )
    reconstructions = args.output / "reconstructions.png"
    save_image(reconstructions, figure3(model, next(iter(images)).numpy()))
    print(f"Originals, top map alone, both maps: {reconstructions}")
    print(f"New pictures: {args.output / 'samples.png'}")
    print(f"The model, for from_pretrained: {args.output / 'bottom' / 'model'}")


if __name__ == "__main__":
    run_program(main)

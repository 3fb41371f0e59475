"""Both stages on a folder of small images: from pictures to new pictures.

    python examples/two_stage.py --data PHOTOS --output runs/two_stage

On two CPU cores this takes some minutes, and the new pictures show it: it is
the whole way in one file (algorithms 1 and 2), to copy and to enlarge. With one
folder per class in PHOTOS, `--labels` makes the priors class-conditional. Run
it again after a kill: what is finished is kept, what was under way goes on.
"""

import argparse
import pathlib

import numpy as np

import keras_vqvae2
from keras_vqvae2.extract import extract_codes
from keras_vqvae2.pictures import figure3
from keras_vqvae2.pictures import save_image
from keras_vqvae2.pictures import tile
from keras_vqvae2.train import TrainingOptions
from keras_vqvae2.train import image_dataset
from keras_vqvae2.train import train_prior
from keras_vqvae2.train import train_vqvae


def options(args, output, steps):
    return TrainingOptions(
        steps=steps,
        batch_size=args.batch_size,
        warmup_steps=steps // 20,
        decay_steps=steps // 2,
        steps_per_epoch=max(steps // 5, 1),
        checkpoint_minutes=2,
        resume=(output / "checkpoint.safetensors").exists(),
        verbose=0,
    )


def finished(folder):
    return (folder / "model" / "config.json").exists()


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

    # Stage 1 (algorithm 1): images to codes and back.
    stage1 = args.output / "vqvae"
    if not finished(stage1):
        vqvae = keras_vqvae2.HierarchicalVQVAE(
            strides=(2, 2),
            hidden_dim=args.hidden_dim,
            residual_dim=args.hidden_dim // 2,
            num_embeddings=128,
            embedding_dim=32,
            # The top map must hold something by itself.
            level_dropout=0.2,
        )
        train_vqvae(
            vqvae,
            args.data,
            stage1,
            image_size=args.image_size,
            resize=args.resize,
            options=options(args, stage1, args.vqvae_steps),
        )
    model = keras_vqvae2.from_pretrained(stage1 / "model")
    images = image_dataset(
        args.data, args.image_size, 8, training=False, resize=args.resize
    )
    images = next(iter(images)).numpy()
    reconstructions = args.output / "reconstructions.png"
    save_image(reconstructions, figure3(model, images))
    print(f"Originals, top map alone, both maps: {reconstructions}")

    # Stage 2 (algorithm 2): the distribution of the codes, level by level.
    codes = args.output / "codes"
    if not (codes / "index.json").exists():
        extract_codes(
            model,
            args.data,
            codes,
            image_size=args.image_size,
            labels=args.labels,
            resize=args.resize,
            mirrored=True,
            batch_size=args.batch_size,
        )
    size = args.image_size // model.vqvae.total_stride
    sizes = ((size, size), (2 * size, 2 * size))
    num_classes = None
    if args.labels:
        num_classes = len(keras_vqvae2.data.class_names(args.data))
    for level, name in enumerate(model.vqvae.level_names):
        output = args.output / name
        if not finished(output):
            prior = keras_vqvae2.PixelSNAILPrior(
                sizes=sizes[: level + 1],
                num_embeddings=model.vqvae.num_embeddings,
                hidden_dim=args.hidden_dim,
                residual_dim=args.hidden_dim,
                num_blocks=4,
                kernel_size=3,
                num_attention_layers=0 if level else 2,
                num_heads=2,
                num_output_blocks=1,
                num_conditioning_blocks=2 * level,
                num_classes=num_classes,
            )
            _, history = train_prior(
                model,
                name,
                prior,
                codes,
                output,
                options=options(args, output, args.prior_steps),
            )
            print(f"{name}: {history['loss'][-1]:.2f} nats per code")
        model = keras_vqvae2.from_pretrained(output / "model")

    # New pictures.
    number = 16
    new = model.generate(
        number,
        np.arange(number) % num_classes if num_classes else None,
        batch_size=number,
        top_p=0.95,
    )
    samples = args.output / "samples.png"
    save_image(samples, tile([new[i : i + 4] for i in range(0, number, 4)]))
    print(f"New pictures: {samples}")
    print(f"The model, for from_pretrained: {args.output / 'bottom' / 'model'}")


if __name__ == "__main__":
    main()

import pathlib

from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import positive
from keras_vqvae2.evaluation import load_classifier
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image
from keras_vqvae2.vqvae2 import from_pretrained


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "-o", "--output", required=True, help="folder for the images"
    )
    parser.add_argument(
        "--labels", type=int, nargs="+", help="class of each image"
    )
    parser.add_argument("--num-images", type=positive, help="number of images")
    parser.add_argument(
        "--top-k", type=positive, help="draw from the TOP_K likeliest codes"
    )
    parser.add_argument(
        "--top-p",
        type=float,
        help="draw from the likeliest codes of this total probability",
    )
    parser.add_argument("--grid", help="also save all images as one image")
    parser.add_argument(
        "--classifier",
        help=".keras file that judges the candidates, see --num-candidates; "
        "or cifar10-classifier, which comes with the package",
    )
    add_numbers(
        parser,
        ("temperature", float, 1.0, "below 1 for likelier images"),
        (
            "guidance-scale",
            float,
            1.0,
            "above 1 for images more typical of --labels",
        ),
        (
            "num-candidates",
            positive,
            1,
            "candidates for each image, of which --classifier keeps the best",
        ),
        ("seed", int, 0, "fixes the images"),
        ("batch-size", positive, 16, "images at a time"),
    )


def run(args):
    classifier = args.classifier and load_classifier(args.classifier)
    images = from_pretrained(args.model).generate(
        args.num_images,
        args.labels,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        guidance_scale=args.guidance_scale,
        seed=args.seed,
        batch_size=args.batch_size,
        classifier=classifier,
        num_candidates=args.num_candidates,
        verbose=1,
    )
    output = pathlib.Path(args.output)
    for i, image in enumerate(images):
        save_image(output / f"{i:05}.png", image)
    if args.grid:
        side = round(len(images) ** 0.5)
        rows = [images[i : i + side] for i in range(0, len(images), side)]
        save_image(args.grid, image_grid(rows))
    print(f"{len(images)} images: {output}")

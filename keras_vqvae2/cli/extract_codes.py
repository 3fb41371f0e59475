import keras_vqvae2
from keras_vqvae2.cli.options import add_data
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import positive
from keras_vqvae2.files import shown


def add_arguments(parser):
    add_model(parser)
    add_data(parser)
    parser.add_argument("--output", required=True, help="folder for the codes")
    parser.add_argument(
        "--split",
        default="train",
        help="split of a TFDS data set (default: %(default)s)",
    )
    parser.add_argument(
        "--labels", action="store_true", help="keep class labels, too"
    )
    parser.add_argument(
        "--mirrored",
        action="store_true",
        help="add each image flipped horizontally",
    )
    parser.add_argument(
        "--image-size",
        type=positive,
        help="height and width of the center crops (default: those that the "
        "model was trained on, or 256)",
    )
    add_numbers(
        parser,
        ("batch-size", positive, 16, "images at a time"),
        ("shard-size", positive, 4096, "images in a file"),
    )


def run(args):
    count = keras_vqvae2.recipes.extract_codes(
        keras_vqvae2.from_pretrained(args.model),
        args.data,
        args.output,
        image_size=args.image_size,
        split=args.split,
        labels=args.labels,
        resize=args.resize,
        mirrored=args.mirrored,
        batch_size=args.batch_size,
        shard_size=args.shard_size,
        data_dir=args.data_dir,
        download=args.download,
        verbose=True,
    )
    print(f"Codes of {count} images: {shown(args.output)}")

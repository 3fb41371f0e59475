import keras_vqvae2
from keras_vqvae2.cli.options import add_editing
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import editing_options
from keras_vqvae2.cli.options import positive
from keras_vqvae2.cli.paths import check_outputs
from keras_vqvae2.cli.paths import check_suffix
from keras_vqvae2.files import shown
from keras_vqvae2.visualization import SUFFIXES
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image


def add_arguments(parser):
    add_editing(parser)
    parser.add_argument(
        "--mask",
        required=True,
        help="image of the same size, light where to draw anew",
    )
    add_numbers(
        parser,
        (
            "num-candidates",
            positive,
            8,
            "candidates for each variant, so that it fits what is right of "
            "the hole and below",
        ),
    )


def run(args):
    check_suffix("output", args.output, SUFFIXES)
    check_outputs([args.output], args.overwrite, [args.image, args.mask])
    image = keras_vqvae2.data.load_image(args.image)
    mask = keras_vqvae2.data.load_image(args.mask).mean(axis=-1) > 127
    (variants,) = keras_vqvae2.from_pretrained(args.model).inpaint(
        image[None],
        mask,
        num_candidates=args.num_candidates,
        **editing_options(args),
    )
    save_image(args.output, image_grid([variants]))
    print(f"{len(variants)} variants: {shown(args.output)}")

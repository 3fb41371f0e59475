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
    add_numbers(
        parser, ("levels", positive, 1, "coarsest code maps that are kept")
    )


def run(args):
    check_suffix("output", args.output, SUFFIXES)
    check_outputs([args.output], args.overwrite, [args.image])
    image = keras_vqvae2.data.load_image(args.image)
    (variants,) = keras_vqvae2.from_pretrained(args.model).vary(
        image[None], args.levels, **editing_options(args)
    )
    save_image(args.output, image_grid([variants]))
    print(f"{len(variants)} variants: {shown(args.output)}")

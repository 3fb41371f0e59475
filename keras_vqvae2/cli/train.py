import pathlib
import sys

import keras_vqvae2
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.cli.options import DEFAULT_MODEL
from keras_vqvae2.cli.options import add_data
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import add_training_options
from keras_vqvae2.cli.options import described
from keras_vqvae2.cli.options import flag
from keras_vqvae2.cli.options import positive
from keras_vqvae2.cli.options import training_options
from keras_vqvae2.files import shown
from keras_vqvae2.hub.presets import find_preset

keras = LazyModule("keras")

_SIZES = (
    "hidden_dim",
    "residual_dim",
    "num_residual_blocks",
    "num_embeddings",
    "embedding_dim",
)


def add_arguments(parser):
    add_data(parser)
    add_training_options(parser)
    parser.add_argument("--name", help="name of the saved model")
    parser.add_argument("--validation-data", help="as --data, for validation")
    parser.add_argument(
        "--validation-split",
        default="validation",
        help="split of a TFDS data set (default: %(default)s)",
    )
    parser.add_argument(
        "--validation-size",
        type=positive,
        help="height and width of the center crops for validation "
        "(default: --image-size)",
    )
    add_numbers(
        parser,
        ("image-size", positive, 256, "height and width of the random crops"),
        (
            "level-dropout",
            float,
            0.02,
            "share of images decoded from coarse maps only",
        ),
    )
    model = parser.add_argument_group("model")
    start = model.add_mutually_exclusive_group()
    start.add_argument(
        "--preset",
        default=DEFAULT_MODEL,
        help="sizes of the model (default: %(default)s)",
    )
    start.add_argument("--initial-weights", help="trained model to start from")
    model.add_argument(
        "--strides",
        type=positive,
        nargs="+",
        help="strides of the levels instead of the preset's, finest first",
    )
    texts = described("models/hierarchical_vqvae.py", "HierarchicalVQVAE")
    for name in _SIZES:
        model.add_argument(
            flag(name),
            type=positive,
            help=f"{texts[name]} (default: the preset's)",
        )


def run(args):
    options = training_options(args, int(sys.stdout.isatty()))
    with keras_vqvae2.training.distribute(args.strategy):
        keras.utils.set_random_seed(args.seed)
        vqvae = _model(args)
        vqvae.level_dropout = args.level_dropout
        keras_vqvae2.recipes.train_vqvae(
            vqvae,
            args.data,
            args.output,
            validation_data=args.validation_data,
            validation_split=args.validation_split,
            image_size=args.image_size,
            validation_size=args.validation_size,
            resize=args.resize,
            data_dir=args.data_dir,
            download=args.download,
            name=args.name,
            options=options,
        )
    print(f"Trained model: {shown(pathlib.Path(args.output, 'model'))}")


def _model(args):
    sizes = {
        name: getattr(args, name)
        for name in ("strides", *_SIZES)
        if getattr(args, name) is not None
    }
    if not args.initial_weights:
        arguments = {**find_preset(args.preset).vqvae, **sizes}
        return keras_vqvae2.HierarchicalVQVAE(**arguments, dtype=args.dtype)
    if sizes:
        raise ValueError(
            "The model of --initial-weights has its own sizes: leave out "
            f"{', '.join(sizes)}."
        )
    return keras_vqvae2.from_pretrained(
        args.initial_weights, dtype=args.dtype
    ).vqvae

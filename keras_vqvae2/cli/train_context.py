import keras_vqvae2
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import complete_model
from keras_vqvae2.cli.options import positive
from keras_vqvae2.codec.code_model import load_context
from keras_vqvae2.codec.context_model import bits_per_pixel
from keras_vqvae2.files import shown
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.hub.store import find_snapshot

_SIZES = ContextConfig()


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--codes", required=True, help="folder that extract-codes wrote"
    )
    parser.add_argument(
        "--output",
        required=True,
        help="folder for the model with its context model",
    )
    parser.add_argument(
        "--initial-context",
        metavar="MODEL",
        help="start from the context model that this model has, and take its "
        "sizes",
    ).completer = complete_model
    parser.add_argument(
        "--validation-codes",
        help="the same, to measure on (default: one image in fifty)",
    )
    add_numbers(
        parser,
        ("steps", positive, 6000, "training steps of each level"),
        ("batch-size", positive, 2048, "codes in a batch"),
        ("learning-rate", float, 4e-3, "peak learning rate"),
        ("seed", int, 0, "seed of weights and batches"),
        (
            "num-neighbors",
            int,
            _SIZES.num_neighbors,
            "codes of the same map that are looked at",
        ),
        (
            "coarse-radius",
            int,
            _SIZES.coarse_radius,
            "rows and columns around the coarser code that are looked at",
        ),
        (
            "embedding-dim",
            int,
            _SIZES.embedding_dim,
            "dimension of the codes' embeddings",
        ),
        (
            "coarse-dim",
            int,
            _SIZES.coarse_dim,
            "units of the layer of the coarser codes",
        ),
    )
    parser.add_argument(
        "--hidden-dims",
        type=int,
        nargs="+",
        default=_SIZES.hidden_dims,
        help="units of the hidden layers (default: "
        f"{' '.join(map(str, _SIZES.hidden_dims))})",
    )


def run(args):
    config = initial = None
    if args.initial_context is None:
        config = ContextConfig(
            num_neighbors=args.num_neighbors,
            coarse_radius=args.coarse_radius,
            embedding_dim=args.embedding_dim,
            coarse_dim=args.coarse_dim,
            hidden_dims=tuple(args.hidden_dims),
        )
    else:
        initial = load_context(find_snapshot(args.initial_context))
        if initial is None:
            raise ValueError(f"{args.initial_context} has no context model.")
    model = keras_vqvae2.from_pretrained(args.model)
    _, bits = keras_vqvae2.recipes.train_context(
        model,
        args.codes,
        args.output,
        validation_codes=args.validation_codes,
        config=config,
        initial=initial,
        steps=args.steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        verbose=True,
    )
    for level, value in bits.items():
        print(f"{level}: {value:.3f} bits a code")
    rate = bits_per_pixel(model.vqvae.strides, bits.values())
    print(f"bits per pixel: {rate:.4f}")
    print(f"model: {shown(args.output)}")

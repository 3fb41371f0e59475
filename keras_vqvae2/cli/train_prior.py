import pathlib
import sys

import keras_vqvae2
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.cli.options import add_training_options
from keras_vqvae2.cli.options import described
from keras_vqvae2.cli.options import flag
from keras_vqvae2.cli.options import training_options
from keras_vqvae2.files import shown
from keras_vqvae2.hub.presets import find_preset

keras = LazyModule("keras")

# As large as a CPU can train; the paper's sizes are in the presets.
_SIZES = {
    "hidden_dim": 128,
    "residual_dim": 128,
    "num_blocks": 10,
    "kernel_size": 5,
    "num_attention_layers": 2,
    "num_heads": 4,
    "num_output_blocks": 0,
    "num_conditioning_blocks": 4,
    "dropout": 0.0,
    "class_dropout": 0.0,
}


def add_arguments(parser):
    parser.add_argument(
        "--model", required=True, help="the model that the codes are of"
    )
    parser.add_argument("--level", required=True, help="top, middle or bottom")
    parser.add_argument(
        "--codes", required=True, help="folder written by extract-codes"
    )
    parser.add_argument("--validation-codes", help="the same, for validation")
    add_training_options(parser)
    parser.add_argument("--name", help="name of the saved model")
    model = parser.add_argument_group("prior")
    start = model.add_mutually_exclusive_group()
    start.add_argument(
        "--preset", help="use the sizes of this preset's prior of the level"
    )
    start.add_argument(
        "--initial",
        action="store_true",
        help="start from the prior that --model has",
    )
    texts = described("models/pixel_snail_prior.py", "PixelSNAILPrior")
    for name, default in _SIZES.items():
        model.add_argument(
            flag(name),
            type=type(default),
            help=f"{texts[name]} (default: {default}, or the preset's)",
        )
    model.add_argument(
        "--rematerialize", action="store_true", help=texts["rematerialize"]
    )


def run(args):
    options = training_options(args, int(sys.stdout.isatty()))
    with keras_vqvae2.training.distribute(args.strategy):
        keras.utils.set_random_seed(args.seed)
        model = keras_vqvae2.from_pretrained(args.model, dtype=args.dtype)
        names = model.vqvae.level_names
        if args.level not in names:
            raise ValueError(
                f"There is no level {args.level!r}. The model has: "
                f"{', '.join(names)}."
            )
        prior = _prior(args, model)
        prior.rematerialize = args.rematerialize
        keras_vqvae2.recipes.train_prior(
            model,
            args.level,
            prior,
            args.codes,
            args.output,
            validation_codes=args.validation_codes,
            name=args.name,
            options=options,
        )
    folder = pathlib.Path(args.output, "model")
    print(f"Model with the prior: {shown(folder)}")


def _prior(args, model):
    given = {
        name: getattr(args, name)
        for name in _SIZES
        if getattr(args, name) is not None
    }
    if args.initial:
        if given:
            raise ValueError(
                "The prior of --initial has its own sizes: leave out "
                f"{', '.join(given)}."
            )
        return model.load_prior(args.level)
    sizes = _SIZES
    if args.preset is not None:
        priors = find_preset(args.preset).priors
        if args.level not in priors:
            raise ValueError(
                f"The preset {args.preset!r} has no level {args.level!r}: "
                f"choose from {', '.join(priors)}."
            )
        sizes = priors[args.level]
    codes, labels, index = keras_vqvae2.data.read_code_shards(args.codes)
    number = model.vqvae.level_names.index(args.level) + 1
    num_classes = None if labels is None else int(labels.max()) + 1
    names = index.get("source", {}).get("label_names")
    if num_classes is not None and names is not None:
        num_classes = len(names)
    arguments = {
        **sizes,
        "code_shapes": [
            level.shape[1:] for level in list(codes.values())[:number]
        ],
        "num_embeddings": model.vqvae.num_embeddings,
        "num_classes": num_classes,
        **given,
    }
    prior = keras_vqvae2.PixelSNAILPrior(**arguments, dtype=args.dtype)
    keras_vqvae2.models.embed_codebooks(prior, model.vqvae)
    return prior

import contextlib
import pathlib
import sys
import tempfile

import keras_vqvae2
from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import add_reading
from keras_vqvae2.cli.options import positive
from keras_vqvae2.files import shown
from keras_vqvae2.hub import bundled_weights

# Arguments of `evaluation.evaluate` that are options of the same name.
_SAME = (
    "data",
    "split",
    "test_split",
    "image_size",
    "resize",
    "data_dir",
    "download",
    "num_images",
    "rate_weight",
    "search_steps",
    "num_samples",
    "temperature",
    "top_k",
    "top_p",
    "num_candidates",
    "cas_steps",
    "seed",
    "batch_size",
)


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--test-data",
        required=True,
        help="folder of images that nothing was trained on, or tfds:NAME",
    )
    parser.add_argument("--data", help="the same for training images")
    add_reading(parser)
    parser.add_argument("--output", help="folder for metrics and images")
    parser.add_argument(
        "--write-card",
        action="store_true",
        help="write them into the model's own folder and model card",
    )
    parser.add_argument(
        "--card-photographs",
        action="store_true",
        help="with --write-card: also images that show the data",
    )
    parser.add_argument(
        "--split", default="train", help="split of TFDS training images"
    )
    parser.add_argument(
        "--test-split", default="test", help="split of TFDS test images"
    )
    parser.add_argument(
        "--image-size",
        type=positive,
        help="height and width of the center crops (default: the priors', "
        "or 256)",
    )
    parser.add_argument(
        "--num-images",
        type=positive,
        help="maximum number of test and of training images",
    )
    parser.add_argument(
        "--rate-weight",
        type=float,
        default=0.0,
        help="as of encode (default: %(default)s)",
    )
    parser.add_argument(
        "--search-steps",
        type=int,
        default=0,
        help="as of encode (default: %(default)s)",
    )
    parser.add_argument(
        "--classifier",
        help=".keras file of a classifier of the classes, or "
        "cifar10-classifier, which comes with the package",
    )
    parser.add_argument(
        "--features",
        default="inception-v3",
        help="what FID, precision and recall compare: inception-v3, "
        "torch-fidelity (the network of published FIDs), classifier, none, or "
        "a .keras file (default: %(default)s)",
    )
    parser.add_argument(
        "--feature-layer", help="layer of that file that gives the features"
    )
    parser.add_argument(
        "--guidance-scale", type=float, nargs="+", default=[1.0]
    )
    parser.add_argument("--top-k", type=positive)
    parser.add_argument("--top-p", type=float)
    parser.add_argument(
        "--num-candidates",
        type=positive,
        nargs="+",
        default=[],
        help="rejection curve: numbers of candidates for each image, of which "
        "--classifier keeps the best",
    )
    add_numbers(
        parser,
        ("num-samples", int, 1000, "samples at each guidance scale"),
        ("cas-steps", int, 0, "training steps of each classifier of the CAS"),
        ("temperature", float, 1.0, "below 1 for likelier samples"),
        ("seed", int, 0, "fixes the samples"),
        ("batch-size", positive, 16, "images at a time"),
    )


def run(args):
    evaluation = keras_vqvae2.evaluation
    folder = None
    if args.write_card:
        folder = bundled_weights().get(args.model, pathlib.Path(args.model))
        evaluation.card.check_card(folder)  # now, not after the work
    elif not args.output:
        raise ValueError("Name a folder as --output, or use --write-card.")
    classifier = args.classifier
    if classifier is not None:
        classifier = evaluation.load_classifier(classifier)
    features = _features(args, classifier)
    model = keras_vqvae2.from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as temporary:
        output = args.output or temporary
        # Standard output is for the metrics alone, not for progress bars.
        with contextlib.redirect_stdout(sys.stderr):
            evaluation.evaluate(
                model,
                args.test_data,
                output,
                classifier=classifier,
                features=features,
                guidance_scales=args.guidance_scale,
                verbose=True,
                **{name: getattr(args, name) for name in _SAME},
            )
        print(pathlib.Path(output, "metrics.json").read_text("utf-8"), end="")
        if folder is not None:
            evaluation.write_card(folder, output, args.card_photographs)
            print(f"Model card: {shown(folder / 'README.md')}", file=sys.stderr)


def _features(args, classifier):
    """The function that --features names, None for none."""
    evaluation = keras_vqvae2.evaluation
    if args.features == "none":
        return None
    if args.features == "inception-v3":
        return evaluation.inception_v3()
    if args.features == "torch-fidelity":
        return evaluation.torch_fidelity_inception()
    if args.features == "classifier":
        if classifier is None:
            raise ValueError("--features classifier needs a --classifier.")
        return evaluation.FeatureExtractor.from_classifier(
            classifier, "the classifier's last hidden layer"
        )
    model = evaluation.load_classifier(args.features)
    if args.feature_layer:
        return evaluation.FeatureExtractor(model, args.feature_layer)
    return evaluation.FeatureExtractor.from_classifier(model)

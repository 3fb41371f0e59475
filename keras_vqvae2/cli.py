"""The command `keras-vqvae2`: argument parsing, files in, files out."""

import argparse
import os
import pathlib
import sys

DEFAULT_MODEL = "vqvae2-imagenet256"
_VQVAE_SIZES = (
    "hidden_dim",
    "residual_dim",
    "num_residual_blocks",
    "num_embeddings",
    "embedding_dim",
)
_PRIOR_SIZES = {
    "hidden_dim": 128,
    "residual_dim": 128,
    "num_blocks": 10,
    "kernel_size": 5,
    "num_attention_layers": 2,
    "num_heads": 4,
    "num_output_blocks": 0,
    "num_conditioning_blocks": 4,
}


def main(argv=None):
    """Runs the command line.

    Args:
        argv: List of arguments, `sys.argv[1:]` if None.

    Returns:
        Exit code: 0, or 2 after one line on stderr that says what was wrong.
        130 after Ctrl-C.
    """
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (ImportError, OSError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        print(f"keras-vqvae2: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keras-vqvae2: interrupted", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-vqvae2",
        description="Images to hierarchical codes and back, with VQ-VAE-2.",
    )
    parser.add_argument(
        "--version", action="version", version=f"%(prog)s {_version()}"
    )
    commands = parser.add_subparsers(
        title="commands", required=True, metavar="COMMAND"
    )

    def command(name, run, summary):
        sub = commands.add_parser(name, help=summary, description=summary)
        sub.set_defaults(run=run)
        return sub

    def add_model(sub):
        sub.add_argument(
            "--model",
            default=DEFAULT_MODEL,
            help="preset, folder, or Hub repository (default: %(default)s)",
        )

    def add_levels(sub, summary):
        sub.add_argument("--levels", type=_positive, help=summary)

    command("list", _list, "List the presets and where their weights are.")

    sub = command("info", _info, "Show a model's sizes, figures and origin.")
    sub.add_argument("name", help="preset, folder, or Hub repository")

    sub = command(
        "reconstruct",
        _reconstruct,
        "Encode and decode images; save them side by side with the originals.",
    )
    sub.add_argument("images", nargs="*", help="image files or folders")
    sub.add_argument(
        "--sample",
        action="store_true",
        help="use the photograph that comes with matplotlib",
    )
    sub.add_argument(
        "-o",
        "--output",
        default="reconstruction.png",
        help="picture, or a folder if there are several images "
        "(default: %(default)s)",
    )
    sub.add_argument(
        "--levels",
        action="store_true",
        help="also show what the first 1, 2, ... levels hold (figure 3)",
    )
    add_model(sub)

    sub = command("encode", _encode, "Encode images to small files of codes.")
    sub.add_argument("images", nargs="+", help="image files or folders")
    sub.add_argument(
        "-o", "--output", required=True, help="folder, or a .codes file"
    )
    add_model(sub)

    sub = command("decode", _decode, "Decode files of codes to images.")
    sub.add_argument("codes", nargs="+", help=".codes files or folders")
    sub.add_argument(
        "-o", "--output", required=True, help="folder, or an image file"
    )
    add_levels(sub, "decode from the first LEVELS maps only")
    sub.add_argument("--model", help="model, if not the one named in the file")

    _add_train(
        command(
            "train", _distributed(_train), "Train stage 1 on your own images."
        )
    )

    sub = command(
        "extract-codes", _extract_codes, "Write the codes of a data set."
    )
    add_model(sub)
    _add_data(sub)
    sub.add_argument("--output", required=True, help="folder for the codes")
    sub.add_argument(
        "--split",
        default="train",
        help="split of a TFDS data set (default: %(default)s)",
    )
    sub.add_argument(
        "--labels", action="store_true", help="keep the classes, too"
    )
    sub.add_argument(
        "--mirrored",
        action="store_true",
        help="add each image mirrored left to right",
    )
    _add_numbers(
        sub,
        ("image-size", _positive, 256, "height and width of the centre crops"),
        ("batch-size", _positive, 16, "images at a time"),
        ("shard-size", _positive, 4096, "images in a file"),
    )

    _add_train_prior(
        command(
            "train-prior",
            _distributed(_train_prior),
            "Train the prior of a level's codes.",
        )
    )

    sub = command("generate", _generate, "Make new images, with priors.")
    add_model(sub)
    sub.add_argument(
        "-o", "--output", required=True, help="folder for the images"
    )
    sub.add_argument(
        "--labels", type=int, nargs="+", help="class of each image"
    )
    sub.add_argument("--num-images", type=_positive, help="number of images")
    sub.add_argument(
        "--top-k", type=_positive, help="draw from the TOP_K likeliest codes"
    )
    sub.add_argument(
        "--top-p",
        type=float,
        help="draw from the likeliest codes of this probability",
    )
    sub.add_argument("--grid", help="also save all of them as one picture")
    sub.add_argument(
        "--classifier",
        help=".keras file that judges candidates, see --keep; or "
        "cifar10-classifier, which comes with the package",
    )
    _add_numbers(
        sub,
        ("temperature", float, 1.0, "below 1 for likelier images"),
        (
            "guidance-scale",
            float,
            1.0,
            "above 1 for images typical of --labels",
        ),
        ("keep", float, 1.0, "1/n: the best of n candidates for each image"),
        ("seed", int, 0, "fixes the images"),
        ("batch-size", _positive, 16, "images at a time"),
    )

    sub = command("evaluate", _evaluate, "Measure a model, figure by figure.")
    add_model(sub)
    _add_evaluate(sub)

    sub = command("push", _push, "Publish all of weights/ on the Hub.")
    sub.add_argument("--owner", help="owner of the repositories")
    sub.add_argument("--private", action="store_true")
    sub.add_argument(
        "--dry-run", action="store_true", help="only check and list"
    )
    return parser


def _add_numbers(sub, *rows):
    for name, kind, default, summary in rows:
        sub.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            help=f"{summary} (default: %(default)s)",
        )


def _add_data(sub):
    sub.add_argument(
        "--data", required=True, help="folder of images, or tfds:NAME"
    )
    sub.add_argument(
        "--resize", type=_positive, help="resize the shorter side first"
    )


def _add_options(sub):
    """The options of `TrainingOptions`."""
    sub.add_argument("--output", required=True, help="folder for the results")
    sub.add_argument(
        "--resume", action="store_true", help="go on with the run in --output"
    )
    sub.add_argument(
        "--optimizer",
        choices=("muon", "adam"),
        default="muon",
        help="the paper has adam (default: %(default)s)",
    )
    sub.add_argument(
        "--learning-rate",
        type=float,
        help="peak learning rate (default: 1e-3 for muon, 3e-4 for adam)",
    )
    _add_numbers(
        sub,
        ("batch-size", _positive, 128, "images in a batch"),
        ("steps", _positive, 250_000, "training steps in all"),
        ("steps-per-epoch", _positive, 500, "steps between validations"),
        ("warmup-steps", int, 100, "rise of the learning rate"),
        ("decay-steps", int, 0, "fall of the learning rate at the end"),
        ("seed", int, 0, "order of images, crops and flips"),
        ("clip-norm", float, 1.0, "norm to which the gradient is clipped"),
        (
            "gradient-accumulation-steps",
            _positive,
            1,
            "parts of a batch that go one after the other, to save memory",
        ),
        ("checkpoint-minutes", float, 5.0, "minutes between checkpoints"),
    )
    sub.add_argument(
        "--strategy",
        choices=("none", "mirrored", "multiworker", "tpu"),
        default="none",
        help="devices to train on (default: %(default)s, a single one)",
    )
    sub.add_argument(
        "--dtype",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
        default="float32",
        help="dtype policy (default: %(default)s)",
    )


def _add_train(sub):
    _add_data(sub)
    _add_options(sub)
    sub.add_argument("--validation-data", help="as --data, for validation")
    sub.add_argument(
        "--validation-split",
        default="validation",
        help="split of a TFDS data set (default: %(default)s)",
    )
    model = sub.add_argument_group("model")
    start = model.add_mutually_exclusive_group()
    start.add_argument(
        "--preset",
        default=DEFAULT_MODEL,
        help="sizes of the model (default: %(default)s)",
    )
    start.add_argument("--initial-weights", help="trained model to start from")
    model.add_argument(
        "--strides",
        type=_positive,
        nargs="+",
        help="strides of the levels instead of the preset's, finest first",
    )
    for name in _VQVAE_SIZES:
        model.add_argument(
            _flag(name), type=_positive, help="instead of the preset's"
        )
    sub.add_argument(
        "--validation-size", type=_positive, help="size of centre crops"
    )
    _add_numbers(
        sub,
        ("image-size", _positive, 256, "height and width of the random crops"),
        ("level-dropout", float, 0.02, "share decoded from coarse maps only"),
    )


def _add_train_prior(sub):
    sub.add_argument(
        "--model", required=True, help="the model that the codes are of"
    )
    sub.add_argument("--level", required=True, help="top, middle or bottom")
    sub.add_argument(
        "--codes", required=True, help="folder that extract-codes wrote"
    )
    sub.add_argument("--validation-codes", help="the same, for validation")
    _add_options(sub)
    model = sub.add_argument_group("prior")
    start = model.add_mutually_exclusive_group()
    start.add_argument(
        "--preset", help="the paper's sizes for this preset and level"
    )
    start.add_argument(
        "--initial",
        action="store_true",
        help="start from the prior that --model has",
    )
    for name, default in _PRIOR_SIZES.items():
        model.add_argument(
            _flag(name), type=int, help=f"default: {default}, or the preset's"
        )
    for name in ("dropout", "class_dropout"):
        model.add_argument(
            _flag(name), type=float, help="default: 0, or the preset's"
        )
    model.add_argument(
        "--rematerialize",
        action="store_true",
        help="compute activations again for gradients: less memory, slower",
    )


def _add_evaluate(sub):
    sub.add_argument(
        "--test-data",
        required=True,
        help="folder of images that nothing was trained on, or tfds:NAME",
    )
    sub.add_argument("--data", help="the same of training images")
    sub.add_argument("--output", help="folder for figures and pictures")
    sub.add_argument(
        "--write-card",
        action="store_true",
        help="write them into the model's own folder and model card",
    )
    sub.add_argument(
        "--card-photographs",
        action="store_true",
        help="with --write-card: also pictures that show images of the data",
    )
    sub.add_argument(
        "--split", default="train", help="split of TFDS training images"
    )
    sub.add_argument(
        "--test-split", default="test", help="split of TFDS test images"
    )
    sub.add_argument(
        "--image-size",
        type=_positive,
        help="height and width of the centre crops (default: the priors', "
        "or 256)",
    )
    sub.add_argument(
        "--resize", type=_positive, help="resize the shorter side first"
    )
    sub.add_argument(
        "--num-images", type=_positive, help="test and training images at most"
    )
    sub.add_argument(
        "--classifier",
        help=".keras file of a classifier of the classes, or "
        "cifar10-classifier, which comes with the package",
    )
    sub.add_argument(
        "--features",
        default="inception-v3",
        help="what FID, precision and recall compare: inception-v3, "
        "torch-fidelity (the network of published FIDs), classifier, none, or "
        "a .keras file (default: %(default)s)",
    )
    sub.add_argument(
        "--feature-layer", help="layer of that file that gives the features"
    )
    sub.add_argument("--guidance-scale", type=float, nargs="+", default=[1.0])
    sub.add_argument("--top-k", type=_positive)
    sub.add_argument("--top-p", type=float)
    sub.add_argument(
        "--keep",
        type=float,
        nargs="+",
        default=[],
        help="shares to keep by --classifier: the rejection curve",
    )
    _add_numbers(
        sub,
        ("num-samples", int, 1000, "samples at each guidance scale"),
        ("cas-steps", int, 0, "training steps of each classifier of the CAS"),
        ("temperature", float, 1.0, "below 1 for likelier samples"),
        ("seed", int, 0, "fixes the samples"),
        ("batch-size", _positive, 16, "images at a time"),
    )


def _flag(name):
    return "--" + name.replace("_", "-")


def _positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be positive, not {value}")
    return value


def _version():
    import importlib.metadata

    try:
        return importlib.metadata.version("keras-vqvae2")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _list(args):
    from keras_vqvae2.hub import list_presets

    for preset in list_presets():
        place = {
            "bundled": "comes with the package",
            "hub": f"on the Hub: {preset.location}",
            "unpublished": f"no weights yet, train with {preset.location}",
        }[preset.source]
        size = f", {preset.num_bytes / 1e6:.1f} MB" if preset.num_bytes else ""
        print(
            f"{preset.name:20} {preset.description}; "
            f"{preset.num_parameters / 1e6:.2f} M parameters; {place}{size}"
        )


def _info(args):
    from keras_vqvae2.hub import bundled_weights
    from keras_vqvae2.hub import from_pretrained

    model = from_pretrained(args.name)
    vqvae = model.vqvae
    print(f"name: {model.name or args.name}")
    print(f"parameters: {vqvae.count_params()}")
    for name in (
        "strides",
        "hidden_dim",
        "residual_dim",
        "num_residual_blocks",
        "num_embeddings",
        "embedding_dim",
        "commitment_cost",
        "decay",
    ):
        print(f"{name}: {getattr(vqvae, name)}")
    shapes = ", ".join(
        f"{name} {height}x{width}"
        for name, (height, width) in zip(
            vqvae.level_names, vqvae.code_shapes(256, 256), strict=True
        )
    )
    print(f"codes of a 256x256 image: {shapes}")
    print(f"bits per pixel: {model.bits_per_pixel(256, 256):.3f}")
    for level in model.priors:
        prior = model.load_prior(level)
        height, width = prior.sizes[-1]
        print(
            f"prior of {level}: {height}x{width}, {prior.count_params()} "
            f"parameters, {prior.num_classes or 'no'} classes"
        )
    folder = bundled_weights().get(args.name, pathlib.Path(args.name))
    for name in ("README.md", "metrics.json"):
        if (folder / name).is_file():
            print(f"{name}: {folder / name}")


def _reconstruct(args):
    from keras_vqvae2.data import load_image
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.visualization import figure3
    from keras_vqvae2.visualization import save_image
    from keras_vqvae2.visualization import tile
    from keras_vqvae2.vqvae2 import psnr

    if args.sample:
        args.images.append(_sample_photograph())
    if not args.images:
        raise ValueError(
            "No image given. Name image files or folders, or use --sample."
        )
    paths = _image_paths(args.images)
    outputs = _output_paths(paths, args.output, ".png")
    model = from_pretrained(args.model)
    scores, bits = [], []
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        image = load_image(path)
        reconstruction = model.reconstruct(image[None])
        if args.levels:
            picture = figure3(model, image[None])
        else:
            picture = tile([[image, reconstruction[0]]])
        save_image(output, picture)
        height, width = image.shape[:2]
        scores.append(psnr(image[None], reconstruction)[0])
        bits.append(model.bits_per_pixel(height, width))
        print(
            f"[{i + 1}/{len(paths)}] {path}: {width}x{height}, "
            f"PSNR {scores[-1]:.2f} dB, {bits[-1]:.3f} bits per pixel "
            f"-> {output}",
            flush=True,
        )
    if len(paths) > 1:
        count = len(paths)
        print(
            f"mean of {count}: PSNR {sum(scores) / count:.2f} dB, "
            f"{sum(bits) / count:.3f} bits per pixel"
        )


def _encode(args):
    from keras_vqvae2.codec.code_file import save_codes
    from keras_vqvae2.data import load_image
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.vqvae2 import pad_to_multiple

    paths = _image_paths(args.images)
    outputs = _output_paths(paths, args.output, ".codes")
    model = from_pretrained(args.model)
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        image = load_image(path)
        padded = pad_to_multiple(image[None], model.vqvae.total_stride)
        save_codes(
            output,
            [level[0] for level in model.encode(padded)],
            num_embeddings=model.vqvae.num_embeddings,
            image_size=image.shape[:2],
            model=args.model,
        )
        size = os.path.getsize(output)
        print(f"[{i + 1}/{len(paths)}] {path} -> {output}, {size} bytes")


def _decode(args):
    from keras_vqvae2.codec.code_file import load_codes
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.visualization import save_image

    paths = []
    for name in map(pathlib.Path, args.codes):
        if not name.exists():
            raise FileNotFoundError(f"There is no file or folder {name}.")
        found = sorted(name.rglob("*.codes")) if name.is_dir() else [name]
        if not found:
            raise ValueError(f"There are no .codes files in {name}.")
        paths += found
    outputs = _output_paths(paths, args.output, ".png")
    models = {}
    for i, (path, output) in enumerate(zip(paths, outputs, strict=True)):
        codes, header = load_codes(path)
        name = args.model or header["model"]
        if name not in models:
            models[name] = from_pretrained(name)
        model = models[name]
        if (header["num_embeddings"], len(codes)) != (
            model.vqvae.num_embeddings,
            model.vqvae.num_levels,
        ):
            raise ValueError(
                f"{path} has {len(codes)} maps of {header['num_embeddings']} "
                f"codes. {name} has {model.vqvae.num_levels} of "
                f"{model.vqvae.num_embeddings}: choose the --model that "
                "encoded it."
            )
        images = model.decode([level[None] for level in codes], args.levels)
        height, width = header["image_size"]
        if height > images.shape[1] or width > images.shape[2]:
            raise ValueError(
                f"{path} is damaged: its codes are too few for an image of "
                f"{width}x{height}."
            )
        save_image(output, images[0, :height, :width])
        print(f"[{i + 1}/{len(paths)}] {path} -> {output}, {width}x{height}")


def _distributed(run):
    """`run` on the devices of `--strategy`."""

    def distributed(args):
        from keras_vqvae2.training import distribute

        with distribute(args.strategy):
            run(args)

    return distributed


def _train(args):
    import keras

    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.models import HierarchicalVQVAE
    from keras_vqvae2.recipes.train import train_vqvae

    keras.utils.set_random_seed(args.seed)
    sizes = {
        name: getattr(args, name)
        for name in ("strides", *_VQVAE_SIZES)
        if getattr(args, name) is not None
    }
    if args.initial_weights:
        if sizes:
            raise ValueError(
                "The model of --initial-weights has its own sizes: leave out "
                f"{', '.join(sizes)}."
            )
        vqvae = from_pretrained(args.initial_weights, dtype=args.dtype).vqvae
    else:
        vqvae = HierarchicalVQVAE(
            **{**_preset(args.preset).vqvae, **sizes}, dtype=args.dtype
        )
    vqvae.level_dropout = args.level_dropout
    train_vqvae(
        vqvae,
        args.data,
        args.output,
        validation_data=args.validation_data,
        validation_split=args.validation_split,
        image_size=args.image_size,
        validation_size=args.validation_size,
        resize=args.resize,
        options=_options(args),
    )
    print(f"Trained model: {pathlib.Path(args.output) / 'model'}")


def _options(args):
    import dataclasses

    from keras_vqvae2.recipes.training_options import TrainingOptions

    names = {field.name for field in dataclasses.fields(TrainingOptions)}
    return TrainingOptions(
        **{name: getattr(args, name) for name in names - {"verbose"}},
        verbose=1 if sys.stdout.isatty() else 0,
    )


def _preset(name):
    from keras_vqvae2.hub.presets import PRESETS

    if name not in PRESETS:
        raise ValueError(
            f"There is no preset {name!r}. Presets: {', '.join(PRESETS)}."
        )
    return PRESETS[name]


def _extract_codes(args):
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.recipes.extract_codes import extract_codes

    count = extract_codes(
        from_pretrained(args.model),
        args.data,
        args.output,
        image_size=args.image_size,
        split=args.split,
        labels=args.labels,
        resize=args.resize,
        mirrored=args.mirrored,
        batch_size=args.batch_size,
        shard_size=args.shard_size,
        verbose=True,
    )
    print(f"Codes of {count} images: {args.output}")


def _train_prior(args):
    import keras

    from keras_vqvae2.data import read_code_shards
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.models import PixelSNAILPrior
    from keras_vqvae2.recipes.train import train_prior

    keras.utils.set_random_seed(args.seed)
    model = from_pretrained(args.model, dtype=args.dtype)
    names = model.vqvae.level_names
    if args.level not in names:
        raise ValueError(
            f"There is no level {args.level!r}. The model has: "
            f"{', '.join(names)}."
        )
    given = {
        name: getattr(args, name)
        for name in (*_PRIOR_SIZES, "dropout", "class_dropout")
        if getattr(args, name) is not None
    }
    if args.initial:
        if given:
            raise ValueError(
                "The prior of --initial has its own sizes: leave out "
                f"{', '.join(given)}."
            )
        prior = model.load_prior(args.level)
    else:
        if args.preset is None:
            sizes = _PRIOR_SIZES
        elif args.level in _preset(args.preset).priors:
            sizes = _preset(args.preset).priors[args.level]
        else:
            raise ValueError(
                f"The preset {args.preset!r} has no level {args.level!r}: "
                f"choose from {', '.join(_preset(args.preset).priors)}."
            )
        codes, labels, _ = read_code_shards(args.codes)
        maps = list(codes.values())[: names.index(args.level) + 1]
        prior = PixelSNAILPrior(
            **{
                **sizes,
                "sizes": [level.shape[1:] for level in maps],
                "num_embeddings": model.vqvae.num_embeddings,
                "num_classes": None
                if labels is None
                else int(labels.max()) + 1,
                **given,
            },
            dtype=args.dtype,
        )
    prior.rematerialize = args.rematerialize
    train_prior(
        model,
        args.level,
        prior,
        args.codes,
        args.output,
        validation_codes=args.validation_codes,
        options=_options(args),
    )
    print(f"Model with the prior: {pathlib.Path(args.output) / 'model'}")


def _generate(args):
    from keras_vqvae2.hub import from_pretrained
    from keras_vqvae2.visualization import save_image
    from keras_vqvae2.visualization import tile

    classifier = None
    if args.classifier:
        from keras_vqvae2.evaluation import load_classifier

        classifier = load_classifier(args.classifier)
    output = pathlib.Path(args.output)
    images = from_pretrained(args.model).generate(
        args.num_images,
        args.labels,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        guidance_scale=args.guidance_scale,
        seed=args.seed,
        batch_size=args.batch_size,
        verbose=1,
        classifier=classifier,
        num_candidates=round(1 / args.keep),
    )
    for i, image in enumerate(images):
        save_image(output / f"{i:05}.png", image)
    if args.grid:
        side = round(len(images) ** 0.5)
        rows = [images[i : i + side] for i in range(0, len(images), side)]
        save_image(args.grid, tile(rows))
    print(f"{len(images)} images: {output}")


def _evaluate(args):
    import tempfile

    from keras_vqvae2 import evaluation
    from keras_vqvae2.evaluation.card import check_card
    from keras_vqvae2.hub import bundled_weights
    from keras_vqvae2.hub import from_pretrained

    folder = None
    if args.write_card:
        folder = bundled_weights().get(args.model, pathlib.Path(args.model))
        check_card(folder)  # now, not after the work
    elif not args.output:
        raise ValueError("Name a folder as --output, or use --write-card.")
    classifier = args.classifier
    if classifier is not None:
        classifier = evaluation.load_classifier(classifier)
    features = _features(args, classifier)
    model = from_pretrained(args.model)
    with tempfile.TemporaryDirectory() as temporary:
        output = args.output or temporary
        evaluation.evaluate(
            model,
            args.test_data,
            output,
            classifier=classifier,
            features=features,
            guidance_scales=args.guidance_scale,
            keep_rates=args.keep,
            verbose=True,
            **{
                name: getattr(args, name)
                for name in (
                    "data",
                    "split",
                    "test_split",
                    "image_size",
                    "resize",
                    "num_images",
                    "num_samples",
                    "temperature",
                    "top_k",
                    "top_p",
                    "cas_steps",
                    "seed",
                    "batch_size",
                )
            },
        )
        print(pathlib.Path(output, "metrics.json").read_text("utf-8"), end="")
        if folder is not None:
            evaluation.write_card(folder, output, args.card_photographs)
            print(f"Model card: {folder / 'README.md'}", file=sys.stderr)


def _features(args, classifier):
    """The function that --features names, None for none."""
    from keras_vqvae2 import evaluation

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


def _push(args):
    from keras_vqvae2.hub import push_all

    commits = push_all(args.owner, private=args.private, dry_run=args.dry_run)
    for repository, url in commits.items():
        print(f"{repository}: {url or 'would be published'}")


def _sample_photograph():
    import matplotlib.cbook

    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return file.name


def _image_paths(names):
    from keras_vqvae2.data import list_images

    paths = []
    for name in names:
        if not os.path.exists(name):
            raise FileNotFoundError(f"There is no file or folder {name}.")
        paths += list_images(name) if os.path.isdir(name) else [name]
    return paths


def _output_paths(paths, output, suffix):
    """One output path for each input; a folder where there are several.

    Args:
        paths: Input files.
        output: What the user named: a file for one input, else a folder.
        suffix: Ending of the files in a folder.

    Raises:
        ValueError: If several inputs would go to one file.
    """
    output = pathlib.Path(output)
    is_file = bool(output.suffix) and not output.is_dir()
    if is_file:
        if len(paths) > 1:
            raise ValueError(
                f"{len(paths)} inputs do not fit into the file {output}: name "
                "a folder as --output."
            )
        return [output]
    outputs = [output / f"{pathlib.Path(path).stem}{suffix}" for path in paths]
    if len(set(outputs)) != len(outputs):
        # Files of the same name in several folders: keep their endings apart.
        width = len(str(len(paths)))
        outputs = [
            path.with_stem(f"{i:0{width}}-{path.stem}")
            for i, path in enumerate(outputs)
        ]
    return outputs

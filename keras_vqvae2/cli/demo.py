import keras_vqvae2
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import positive


def add_arguments(parser):
    parser.add_argument(
        "--model",
        action="append",
        help="preset, folder, or Hub repository to choose from; can be given "
        "several times (default: the presets that came with the package)",
    )
    add_numbers(
        parser,
        ("host", str, "127.0.0.1", "address; 0.0.0.0 is for everybody"),
        ("port", positive, 7860, "port to listen at"),
    )


def run(args):
    keras_vqvae2.demo.serve(args.model, args.host, args.port)

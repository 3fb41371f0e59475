import keras_vqvae2
from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import positive

HOST, PORT = "127.0.0.1", 7860


def add_arguments(parser):
    parser.add_argument(
        "--model",
        action="append",
        help="preset, folder, or Hub repository to choose from; can be given "
        "several times (default: the presets that came with the package)",
    )
    add_numbers(
        parser,
        ("host", str, HOST, "address; 0.0.0.0 is for everybody"),
        ("port", positive, PORT, "port to listen at"),
    )


def run(args):
    keras_vqvae2.demo.serve(args.model, args.host, args.port)

from keras_vqvae2.cli.options import add_numbers
from keras_vqvae2.cli.options import positive
from keras_vqvae2.demo import serve
from keras_vqvae2.demo.server import HOST
from keras_vqvae2.demo.server import PORT


def add_arguments(parser):
    parser.add_argument(
        "--model",
        action="append",
        help="preset, folder, or Hub repository to choose from; can be given "
        "several times (default: the presets that came with the package)",
    )
    add_numbers(
        parser,
        ("host", str, HOST, "address to listen at; 0.0.0.0 is for everybody"),
        ("port", positive, PORT, "port to listen at"),
    )


def run(args):
    serve(args.model, args.host, args.port)

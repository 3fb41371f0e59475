import argparse

import keras_vqvae2
from keras_vqvae2.files import check_writable
from keras_vqvae2.hub.publish import check_replaceable


def add_arguments(parser):
    parser.add_argument(
        "checkpoint",
        help="file that torch.save wrote, or .safetensors file: a state dict "
        "of an autoencoder of rosinality/vq-vae-2-pytorch",
    )
    parser.add_argument(
        "-o", "--output", required=True, help="folder for the model"
    )
    parser.add_argument(
        "--skip-relu",
        action=argparse.BooleanOptionalAction,
        help="whether it is from before January 2021, when residual blocks "
        "began with an in-place ReLU (default: what reconstructs a photograph "
        "better)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a model that lies in the folder",
    )


def run(args):
    check_writable(args.output, folder=True)
    check_replaceable(args.output, args.overwrite)
    model = keras_vqvae2.from_pytorch(args.checkpoint, skip_relu=args.skip_relu)
    model.save_pretrained(args.output, overwrite=args.overwrite)
    config = model.vqvae.get_config()
    for name in ("strides", "num_embeddings", "num_channels", "skip_relu"):
        print(f"{name}: {config[name]}")
    print(f"model: {args.output}")
    print(
        "To see it: keras-vqvae2 reconstruct --sample --model "
        f"{args.output} -o out.png"
    )

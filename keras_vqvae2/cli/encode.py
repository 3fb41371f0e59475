import os

from keras_vqvae2.cli.options import add_model
from keras_vqvae2.cli.paths import image_paths
from keras_vqvae2.cli.paths import output_paths
from keras_vqvae2.codec import save_codes
from keras_vqvae2.data import load_image
from keras_vqvae2.vqvae2 import from_pretrained
from keras_vqvae2.vqvae2 import pad_to_multiple


def add_arguments(parser):
    parser.add_argument("images", nargs="+", help="image files or folders")
    parser.add_argument(
        "-o", "--output", required=True, help="folder, or a .codes file"
    )
    add_model(parser)


def run(args):
    paths = image_paths(args.images)
    outputs = output_paths(paths, args.output, ".codes")
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

import pathlib

from keras_vqvae2.hub import bundled_weights
from keras_vqvae2.vqvae2 import from_pretrained


def add_arguments(parser):
    parser.add_argument("name", help="preset, folder, or Hub repository")


def run(args):
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
        height, width = prior.code_shapes[-1]
        print(
            f"prior of {level}: {height}x{width}, {prior.count_params()} "
            f"parameters, {prior.num_classes or 'no'} classes"
        )
    folder = bundled_weights().get(args.name, pathlib.Path(args.name))
    for name in ("README.md", "metrics.json"):
        if (folder / name).is_file():
            print(f"{name}: {folder / name}")

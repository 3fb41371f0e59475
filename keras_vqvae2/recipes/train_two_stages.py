"""All of VQ-VAE-2 in one call: images, codes, priors, new images."""

import dataclasses
import pathlib
import time

import numpy as np

from keras_vqvae2.backend.distribution import on_chief
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.levels import level_names
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.models import PixelSNAILPrior
from keras_vqvae2.models import embed_codebooks
from keras_vqvae2.models._inputs import check_image_size
from keras_vqvae2.recipes.extract_codes import extract_codes
from keras_vqvae2.recipes.train_prior import train_prior
from keras_vqvae2.recipes.train_vqvae import train_vqvae
from keras_vqvae2.visualization import image_grid
from keras_vqvae2.visualization import save_image
from keras_vqvae2.vqvae2 import from_pretrained


def train_two_stages(
    data,
    output,
    *,
    vqvae,
    priors,
    image_size,
    vqvae_options,
    prior_options,
    validation_data=None,
    resize=None,
    labels=False,
    mirrored=True,
    extract_batch_size=16,
    dtype=None,
    num_samples=16,
    generate_options=None,
):
    """Trains both stages (algorithms 1 and 2) and generates images.

    `output` gets a folder for stage 1 (`vqvae/`), for the codes (`codes/`,
    with `validation_data` also `validation-codes/`) and for each prior
    (`top/`, ...), as written by `train_vqvae`, `extract_codes` and
    `train_prior`, and `samples.png`. After a kill, call it again: finished
    parts are kept, and the interrupted one resumes. Inside
    `keras_vqvae2.training.distribute` it trains on all devices; the workers
    share `output`.

    Args:
        data: Folder of images, `tfds:<name>`, or a file of NVlabs' FFHQ.
        output: Folder for the results.
        vqvae: Arguments of `HierarchicalVQVAE`.
        priors: Arguments of `PixelSNAILPrior` by level name, coarse to fine;
            `code_shapes` and `num_embeddings` are those of the codes.
        image_size: Height and width of the images.
        vqvae_options: `TrainingOptions` of stage 1.
        prior_options: `TrainingOptions` by level name.
        validation_data: As `data`, for the figures of all phases, or None.
        resize: Length to which the shorter side of images is resized before
            cropping, or None.
        labels: Whether the priors are conditional on the class.
        mirrored: Whether the priors also see each image flipped.
        extract_batch_size: Images at a time when codes are extracted.
        dtype: Dtype policy of the models, or None for Keras's default.
        num_samples: Number of new images.
        generate_options: Further arguments of `VQVAE2.generate`, or None.

    Returns:
        `VQVAE2` with its priors.

    Raises:
        ValueError: If an argument does not fit.
    """
    output = pathlib.Path(output)
    names = level_names(len(vqvae["strides"]))
    if tuple(priors) != names or set(prior_options) != set(names):
        raise ValueError(
            f"`priors` and `prior_options` must be for the levels "
            f"{', '.join(names)}. Received: {', '.join(priors)} and "
            f"{', '.join(prior_options)}"
        )
    # The priors' turn comes when stage 1 is trained: too late for an error.
    untrained = HierarchicalVQVAE(**vqvae, dtype=dtype)
    check_image_size(image_size, untrained)
    shapes = untrained.code_shapes(image_size, image_size)
    prior_arguments = {
        name: {
            **priors[name],
            "code_shapes": shapes[: level + 1],
            "num_embeddings": untrained.num_embeddings,
        }
        for level, name in enumerate(names)
    }
    ModelConfig(
        "model",
        VQVAEConfig.from_model(vqvae),
        {k: PriorConfig.from_model(v) for k, v in prior_arguments.items()},
    )
    stage1 = output / "vqvae"
    if not _finished(stage1):
        train_vqvae(
            untrained,
            data,
            stage1,
            validation_data=validation_data,
            image_size=image_size,
            resize=resize,
            options=_resumed(vqvae_options, stage1),
        )
    _wait_for(_model_file(stage1))
    model = from_pretrained(stage1 / "model")

    def extract(data, name):
        codes = output / name

        def extract_here():
            extract_codes(
                from_pretrained(stage1 / "model"),
                data,
                codes,
                image_size=image_size,
                labels=labels,
                resize=resize,
                mirrored=mirrored,
                batch_size=extract_batch_size,
            )

        if not (codes / "index.json").exists():
            on_chief(extract_here)
        _wait_for(codes / "index.json")
        return codes

    codes = extract(data, "codes")
    validation_codes = None
    if validation_data is not None:
        validation_codes = extract(validation_data, "validation-codes")
    for name in names:
        folder = output / name
        if not _finished(folder):
            prior = PixelSNAILPrior(**prior_arguments[name], dtype=dtype)
            embed_codebooks(prior, model.vqvae)
            train_prior(
                model,
                name,
                prior,
                codes,
                folder,
                validation_codes=validation_codes,
                options=_resumed(prior_options[name], folder),
            )
        _wait_for(_model_file(folder))
        model = from_pretrained(folder / "model")

    def generate():
        num_classes = priors[names[0]].get("num_classes")
        images = from_pretrained(folder / "model").generate(
            num_samples,
            np.arange(num_samples) % num_classes if num_classes else None,
            **(generate_options or {}),
        )
        side = max(round(num_samples**0.5), 1)
        rows = [images[i : i + side] for i in range(0, num_samples, side)]
        save_image(output / "samples.png", image_grid(rows))

    if num_samples:
        on_chief(generate)
    return model


def _model_file(folder):
    return folder / "model" / "config.json"


def _finished(folder):
    return _model_file(folder).exists()


def _resumed(options, folder):
    resume = (folder / "checkpoint.safetensors").exists()
    return dataclasses.replace(options, resume=resume)


def _wait_for(path):
    """Waits, on other workers than the chief, for a file of the chief."""
    while not path.exists():
        time.sleep(1)

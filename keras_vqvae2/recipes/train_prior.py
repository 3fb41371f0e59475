import dataclasses
import pathlib

from keras_vqvae2.backend.distribution import on_chief
from keras_vqvae2.backend.distribution import worker_dataset
from keras_vqvae2.data import code_dataset
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.recipes._codes import read_model_codes
from keras_vqvae2.recipes._run import check_output
from keras_vqvae2.recipes._run import run
from keras_vqvae2.recipes._run import validation_batches
from keras_vqvae2.training_options import TrainingOptions
from keras_vqvae2.vqvae2 import VQVAE2


def train_prior(
    model,
    level,
    prior,
    codes,
    output,
    *,
    validation_codes=None,
    name=None,
    options=None,
):
    """Trains the `PixelSNAILPrior` of one level and saves the whole model.

    `output` gets the same files as from `train_vqvae`; its `model/` is `model`
    with the new prior.

    Args:
        model: `VQVAE2` that the codes were extracted with.
        level: Name of the level: `"top"`, ...
        prior: `PixelSNAILPrior`, untrained or trained.
        codes: Folder written by `write_code_shards`.
        output: Folder for the results.
        validation_codes: The same for validation, or None.
        name: Name of the saved model; None keeps that of `model`.
        options: `TrainingOptions`.

    Returns:
        Tuple of the model with the prior, a `VQVAE2`, and the prior's
        history, a dict of lists.

    Raises:
        FileExistsError: If `output` has a run already and `options.resume` is
            false.
        FileNotFoundError: If `options.resume` is true and there is no
            checkpoint, or there are no codes.
        ValueError: If the codes do not fit the prior, or an argument does not
            fit.
    """
    options = options or TrainingOptions()
    check_output(output, options)
    priors = model.priors | {level: prior}
    # What could not be saved after the training is not trained.
    config = ModelConfig(
        name or "model",
        VQVAEConfig.from_model(model.vqvae.get_config()),
        {level: PriorConfig.from_model(prior.get_config())},
    )
    maps, labels, label_names = _prior_data(model, level, prior, codes)
    if label_names is None:
        label_names = model.labels
    trained = VQVAE2(
        model.vqvae,
        name or model.name,
        priors,
        model.context,
        label_names,
        model.image_size,
        model.revision,
    )
    dataclasses.replace(config, labels=label_names)

    def make_dataset(step):
        return worker_dataset(
            lambda shard: code_dataset(
                maps,
                labels,
                options.batch_size,
                seed=options.seed,
                start_step=step,
                shard=shard,
            ),
            options.batch_size,
        )

    make_dataset(0)
    validation = None
    if validation_codes is not None:
        *arrays, _ = _prior_data(model, level, prior, validation_codes)
        validation = validation_batches(
            lambda batch_size, **kwargs: code_dataset(
                *arrays, batch_size, training=False, **kwargs
            ),
            options,
        )
    arguments = {"codes": str(codes), "level": level}
    history = run(prior, make_dataset, validation, output, arguments, options)
    folder = pathlib.Path(output) / "model"
    on_chief(lambda: trained.save_pretrained(folder, overwrite=True))
    return trained, history


def _prior_data(model, level, prior, folder):
    """Maps, labels and names of classes, as the prior needs them."""
    codes, labels, label_names = read_model_codes(model, folder)
    names = model.vqvae.level_names
    maps = list(codes.values())[: names.index(level) + 1]
    shapes = tuple(m.shape[1:] for m in maps)
    if shapes != prior.code_shapes:
        raise ValueError(
            f"The prior is for maps of the shapes {prior.code_shapes}. "
            f"{folder} has {shapes}."
        )
    if prior.num_classes is None:
        labels = label_names = None
    elif labels is None:
        raise ValueError(
            f"The prior is class-conditional, but {folder} has no labels: "
            "extract the codes of a data set with classes, or leave out "
            "`num_classes`."
        )
    elif labels.max() >= prior.num_classes:
        raise ValueError(
            f"The prior has {prior.num_classes} classes. {folder} has the "
            f"label {labels.max()}."
        )
    return maps, labels, label_names

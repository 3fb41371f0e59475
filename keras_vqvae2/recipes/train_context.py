"""The context model of code files: from codes to `context.safetensors`."""

import pathlib

import keras
import numpy as np

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import check_number
from keras_vqvae2.codec import ContextModel
from keras_vqvae2.codec.context_window import context_windows
from keras_vqvae2.data import CodeWindows
from keras_vqvae2.files import check_writable
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.context_config import ContextConfig
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.models import ContextNetwork
from keras_vqvae2.recipes._codes import read_model_codes
from keras_vqvae2.training import WarmupStableDecay
from keras_vqvae2.vqvae2 import VQVAE2

# One image of so many is held out.
_HELD_OUT = 50


def train_context(
    model,
    codes,
    output,
    *,
    validation_codes=None,
    config=None,
    initial=None,
    steps=6000,
    batch_size=2048,
    learning_rate=4e-3,
    seed=0,
    verbose=False,
):
    """Trains the context model of code files and saves the whole model.

    The coarsest level first; each network by itself, on random codes with
    their neighbourhoods. `output` gets a copy of the model with the new
    context model.

    Args:
        model: `VQVAE2` that the codes were extracted with.
        codes: Folder written by `write_code_shards`.
        output: Folder for the model; its name becomes the model's.
        validation_codes: The same, to measure on; None takes one image in
            fifty out of the training.
        config: `hub.context_config.ContextConfig`: sizes of the networks; None
            takes those of `initial`, or the defaults.
        initial: `codec.ContextModel` to start from, or None: that of an
            autoencoder whose training went on, for example, since its codes
            still mean about the same.
        steps: Training steps for each level.
        batch_size: Codes in a batch.
        learning_rate: Peak of Adam's learning rate, which falls to zero.
        seed: Integer.
        verbose: Whether to show progress.

    Returns:
        Tuple of the model with its context model, a `VQVAE2`, and a dict from
        level name to bits per code on the validation codes.

    Raises:
        FileExistsError: If `output` exists.
        OSError: If `output` cannot be written.
        ValueError: If the codes are not of this model, an argument is out
            of bounds, or `initial` is of other sizes.
    """
    if config is None:
        config = ContextConfig() if initial is None else initial.config
    if initial is not None:
        theirs = initial.config, initial.num_embeddings, initial.strides
        ours = config, model.vqvae.num_embeddings, tuple(model.vqvae.strides)
        if theirs != ours:
            raise ValueError(
                "`initial` must be for the same strides, codes and sizes. "
                f"Received: {initial.num_embeddings} codes, strides "
                f"{initial.strides}, {initial.config}"
            )
    output = pathlib.Path(output)
    if output.exists():
        raise FileExistsError(
            f"{output} exists: choose another `output` for the model."
        )
    # All that can be wrong is found before the training, not after it.
    check_writable(output, folder=True)
    name = output.name if is_name(output.name) else "model"
    vqvae = VQVAEConfig.from_model(model.vqvae.get_config())
    ModelConfig(name, vqvae, context=config)
    check_integer("steps", steps)
    check_integer("batch_size", batch_size)
    check_integer("seed", seed, minimum=0)
    check_number("learning_rate", learning_rate, 0, above=True)
    maps = _read(model, codes)
    if validation_codes is None:
        held_out = np.arange(len(maps[0])) % _HELD_OUT == 0
        validation = [level[held_out] for level in maps]
        if not held_out.all():
            maps = [level[~held_out] for level in maps]
    else:
        validation = _read(model, validation_codes)
    arrays, bits = {}, {}
    windows = context_windows(config, model.vqvae.strides)
    for i, (level, window) in enumerate(windows.items()):
        network = _network(model, i, window, config, seed)
        if initial is not None:
            network.set_arrays(initial.level_arrays(level))

        def dataset(maps, num_batches, seed, i=i, window=window):
            return CodeWindows(
                maps[i],
                maps[i - 1] if i else None,
                neighbors=window.neighbors,
                coarse=window.coarse,
                outside=model.vqvae.num_embeddings,
                batch_size=batch_size,
                num_batches=num_batches,
                seed=seed,
            )

        warmup_steps = min(100, steps // 10)
        schedule = WarmupStableDecay(
            learning_rate, steps, warmup_steps, steps - warmup_steps
        )
        network.compile(
            keras.optimizers.Adam(schedule, beta_2=0.99),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        if verbose:
            print(f"level {level}")
        network.fit(
            dataset(maps, steps, seed),
            epochs=1,
            shuffle=False,
            verbose=int(verbose),
        )
        num_batches = -(-validation[i].size // batch_size)
        loss = network.evaluate(
            dataset(validation, min(num_batches, 200), seed + 1),
            verbose=0,
        )
        bits[level] = float(loss) / np.log(2)
        for name, array in network.arrays().items():
            # Half the file; exact in the float64 of both encoder and decoder.
            arrays[f"{level}/{name}"] = array.astype("float16")
    context = ContextModel(
        config, model.vqvae.strides, model.vqvae.num_embeddings, arrays
    )
    trained = VQVAE2(
        model.vqvae,
        name,
        model.priors,
        context,
        model.labels,
        model.image_size,
        model.revision,
    )
    trained.save_pretrained(output)
    return trained, bits


def _read(model, folder):
    """Code maps of a folder, coarse to fine."""
    codes, _, _ = read_model_codes(model, folder)
    maps = list(codes.values())
    height, width = maps[-1].shape[1:]
    stride = model.vqvae.strides[0]
    shapes = model.vqvae.code_shapes(height * stride, width * stride)
    received = tuple(level.shape[1:] for level in maps)
    if received != shapes:
        raise ValueError(
            f"{folder} has maps of {received}; this model would have {shapes}. "
            "They are not of this model."
        )
    return maps


def _network(model, i, window, config, seed):
    """An untrained network that starts from the model's codebooks."""
    keras.utils.set_random_seed(seed)
    network = ContextNetwork(
        model.vqvae.num_embeddings,
        num_neighbors=config.num_neighbors,
        num_coarse=len(window.coarse),
        num_places=(window.ratio or 1) ** 2,
        embedding_dim=config.embedding_dim,
        coarse_dim=config.coarse_dim,
        hidden_dims=config.hidden_dims,
    )
    if config.embedding_dim == model.vqvae.embedding_dim:
        _start(network.embeddings, model.vqvae.quantizers[i])
        if i:
            _start(network.coarse_embeddings, model.vqvae.quantizers[i - 1])
    return network


def _start(layer, quantizer):
    codebook = keras.ops.convert_to_numpy(quantizer.codebook)
    codebook = codebook - codebook.mean(axis=0)
    codebook = codebook / max(codebook.std(), 1e-6)
    layer.embeddings.assign(np.pad(codebook, ((0, 1), (0, 0))))

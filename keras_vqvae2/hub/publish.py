"""Saves models as folders, and publishes folders on the Hub."""

import json
import os
import pathlib
import re

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights
from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.config import read_config
from keras_vqvae2.hub.errors import explained
from keras_vqvae2.hub.names import CARD
from keras_vqvae2.hub.names import CONFIG
from keras_vqvae2.hub.names import CONTEXT
from keras_vqvae2.hub.names import WEIGHTS
from keras_vqvae2.hub.names import is_name
from keras_vqvae2.hub.names import prior_file
from keras_vqvae2.hub.presets import bundled_weights
from keras_vqvae2.hub.presets import default_owner
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.store import folder_snapshot
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.levels import level_names

huggingface_hub = LazyModule("huggingface_hub")


def save_folder(
    vqvae,
    folder,
    *,
    name=None,
    priors=None,
    context=None,
    labels=None,
    image_size=None,
    revision=1,
    overwrite=False,
    card=None,
    license=None,
):
    """Saves models as a folder, atomically.

    A kill at any moment leaves the old model or the new one to
    `from_pretrained`, never a mixture.

    Args:
        vqvae: Keras model with the arguments of `VQVAEConfig`.
        folder: Folder to write.
        name: Name of the model; None takes the folder's.
        priors: Dict: by level name, a function without arguments that returns
            a Keras model with the arguments of `PriorConfig`. They are
            called one at a time.
        context: Object with the attributes `config`, a `ContextConfig`, and
            `arrays`, a dict of NumPy arrays, or None.
        labels: As for `ModelConfig`.
        image_size: As for `ModelConfig`.
        revision: As for `ModelConfig`.
        overwrite: As for `VQVAE2.save_pretrained`.
        card: As for `VQVAE2.save_pretrained`.
        license: As for `VQVAE2.save_pretrained`.

    Raises:
        FileExistsError: If something else lies there, or a model and
            `overwrite` is False.
        ValueError: If the model is larger than `from_pretrained` accepts, or
            `license` is not an identifier.
    """
    folder = pathlib.Path(os.path.expanduser(folder)).resolve()
    check_replaceable(folder, overwrite)
    settled = files.settled_folder(folder)
    name = name or folder.name
    name = name if is_name(name) else "model"
    with files.atomic_folder(folder, _is_of_model) as new:
        weights.save_weights(vqvae, new / WEIGHTS)
        prior_configs, counts = {}, {}
        for level, load_prior in (priors or {}).items():
            prior = load_prior()
            weights.save_weights(prior, new / prior_file(level))
            prior_configs[level] = PriorConfig.from_model(prior.get_config())
            counts[level] = prior.count_params()
        config = ModelConfig(
            name,
            VQVAEConfig.from_model(vqvae.get_config()),
            prior_configs,
            None if context is None else context.config,
            labels,
            image_size,
            revision,
        )
        (new / CONFIG).write_text(config.to_json(), "utf-8")
        names = [CONFIG, WEIGHTS, *map(prior_file, prior_configs)]
        if context is not None:
            weights.save_arrays(context.arrays, new / CONTEXT)
            names.append(CONTEXT)
        files.write_sha256sums(new, names)
        if card is None and not (settled / CARD).exists():
            card = _short_card(config, vqvae.count_params(), counts, license)
        if card is not None:
            (new / CARD).write_text(card, "utf-8")


def push_folder(
    folder,
    repo_id,
    *,
    private=False,
    token=None,
    revision=None,
    commit_message=None,
    replace_card=True,
):
    """Publishes a saved model on the Hugging Face Hub, as one commit.

    Every file of the folder is sent, except hidden ones. A damaged model is
    not published.

    Args:
        folder: Folder that `save_pretrained` wrote.
        repo_id: As for `VQVAE2.push_to_hub`.
        private: As for `VQVAE2.push_to_hub`.
        token: As for `VQVAE2.push_to_hub`.
        revision: As for `VQVAE2.push_to_hub`.
        commit_message: As for `VQVAE2.push_to_hub`.
        replace_card: Whether to replace the repository's model card.

    Returns:
        URL of the commit.

    Raises:
        FileNotFoundError: If a file of the model is missing.
        ValueError: If the model is damaged, or `repo_id` or the model card is
            not valid.
        PermissionError: If the token is missing or not allowed to write.
        ConnectionError: If the Hub cannot be reached or does not answer.
    """
    snapshot = folder_snapshot(folder, "It was not published.")
    snapshot.verify()
    api = huggingface_hub.HfApi(
        token=token,
        library_name="keras-vqvae2",
        library_version=keras_vqvae2.__version__,
    )
    ignored = [".*", "*/.*"]
    with explained(repo_id, revision, token=token, writing=True):
        repo_id = api.create_repo(
            repo_id, private=private, exist_ok=True
        ).repo_id
        if revision is not None:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        if not replace_card and api.file_exists(
            repo_id, CARD, revision=revision
        ):
            ignored.append(CARD)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or f"Upload {snapshot.config.name}",
            ignore_patterns=ignored,
        )
    return commit.commit_url


def push_all(owner=None, *, token=None, private=False, dry_run=False):
    """Publishes every model of `weights/` on the Hugging Face Hub.

    All are verified before the first one is sent.

    Args:
        owner: Owner of the repositories. None takes the environment variable
            `KERAS_VQVAE2_OWNER`, or `"keras-vqvae2"`.
        token: As for `VQVAE2.push_to_hub`.
        private: As for `VQVAE2.push_to_hub`.
        dry_run: Whether to verify only.

    Returns:
        Dictionary: URL of the commit by repository; None in a dry run.

    Raises:
        FileNotFoundError: If there are no weights, or a file of a model is
            missing.
        ValueError: If a model is damaged.
        PermissionError: If the token is missing or not allowed to write.
        ConnectionError: If the Hub cannot be reached or does not answer.
    """
    owner = owner or default_owner()
    bundled = bundled_weights()
    if not bundled:
        raise FileNotFoundError(
            "No weights came with this installation of keras-vqvae2: there is "
            "nothing to publish."
        )
    for folder in bundled.values():
        folder_snapshot(folder, "Nothing was published.").verify()
    return {
        f"{owner}/{name}": None
        if dry_run
        else push_folder(
            folder, f"{owner}/{name}", token=token, private=private
        )
        for name, folder in bundled.items()
    }


def _is_of_model(name):
    """Whether a saved model may have a file of this name."""
    return name in (CONFIG, WEIGHTS, CONTEXT) or (
        re.fullmatch(r"prior_\w+\.safetensors", name) is not None
    )


def check_replaceable(folder, overwrite):
    """Raises FileExistsError unless `save_folder` may write a folder.

    Args:
        folder: As for `save_folder`.
        overwrite: As for `save_folder`.
    """
    folder = pathlib.Path(os.path.expanduser(folder)).resolve()
    settled = files.settled_folder(folder)
    if not settled.exists():
        return
    if not settled.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder.")
    if not any(settled.iterdir()):
        return
    try:
        read_config(settled / CONFIG)
    except (OSError, ValueError) as error:
        raise FileExistsError(
            f"{folder} is not empty, and what lies there is not a model that "
            "keras-vqvae2 saved: name another folder."
        ) from error
    if not overwrite:
        raise FileExistsError(
            f"{folder} holds a saved model: pass `overwrite=True` to replace "
            "it."
        )


def _short_card(config, num_parameters, num_prior_parameters, license):
    if license is not None and not re.fullmatch(r"[a-z0-9.-]+", license):
        raise ValueError(
            "`license` must be an identifier of the Hub, for example "
            f"'apache-2.0'. Received: {license!r}"
        )
    rows = "\n".join(
        f"| `{key}` | {json.dumps(value)} |"
        for key, value in vars(config.vqvae).items()
    )
    prior_rows = "".join(
        f"\n| prior `{level}` | {count} parameters |"
        for level, count in num_prior_parameters.items()
    )
    generate = ""
    if set(config.priors) == set(level_names(len(config.vqvae.strides))):
        classes = config.priors["top"].num_classes
        what = "16" if classes is None else f"labels=[0, {classes - 1}]"
        generate = f"\nimages = model.generate({what})"
    return f"""---
library_name: keras-vqvae2
tags:
- keras
- vq-vae-2
{f"license: {license}" if license else "# license: say which"}
---

# {config.name}

A VQ-VAE-2 image autoencoder (arXiv 1906.00446) of {num_parameters}
parameters: it turns images into maps of discrete codes, and codes into images.

```python
import keras_vqvae2

model = keras_vqvae2.from_pretrained("path/or/owner/name")
codes = model.encode(images)  # uint8, (batch, height, width, channels)
images = model.decode(codes){generate}
```

| argument | value |
| --- | --- |
{rows}{prior_rows}

Still to be said by who trained it: the training data and its licence, the
measured quality, what the model is good for and where it fails.
"""

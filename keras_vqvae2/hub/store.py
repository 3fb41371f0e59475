"""Loads, saves and publishes models.

A saved model is a folder:

- `config.json`: the model's arguments, see `keras_vqvae2.hub.config`.
- `model.safetensors`: weights by stable names, see `keras_vqvae2.files`.
- `prior_<level>.safetensors`: the same of each prior, if there are any. They
  are read, and downloaded, when images are generated.
- `SHA256SUMS`: what these must hash to; checked by every load.
- `README.md`: model card, for people.

What is loaded is data: no code and no class name is read from it.
"""

import contextlib
import dataclasses
import difflib
import functools
import json
import os
import pathlib
import re
import tempfile

import huggingface_hub
from huggingface_hub import errors

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2 import weights
from keras_vqvae2.hub import config as config_schema
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.models import PixelSNAILPrior
from keras_vqvae2.vqvae2 import VQVAE2

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CARD = "README.md"
SUMS = "SHA256SUMS"

DEFAULT_OWNER = "keras-vqvae2"
OWNER_VARIABLE = "KERAS_VQVAE2_OWNER"


@dataclasses.dataclass(frozen=True)
class PresetInfo:
    """What `list_presets` says about a preset.

    Args:
        name: Name of the preset.
        description: One line.
        num_parameters: Number of weights.
        source: "bundled", "hub" or "unpublished".
        location: Folder, repository on the Hub, or training script.
        num_bytes: Size of the bundled weights, else None.
    """

    name: str
    description: str
    num_parameters: int
    source: str
    location: str
    num_bytes: int | None


def list_presets():
    """Presets and where their weights come from.

    Returns:
        List of `PresetInfo`.

    Example:

    ```python
    names = [preset.name for preset in keras_vqvae2.hub.list_presets()]
    assert "vqvae2-imagenet256" in names
    ```
    """
    bundled = bundled_weights()
    infos = []
    for name, preset in PRESETS.items():
        num_bytes = None
        if name in bundled:
            source, location = "bundled", str(bundled[name])
            num_bytes = sum(
                path.stat().st_size
                for path in bundled[name].glob("*.safetensors")
            )
        elif preset.published:
            source, location = "hub", f"{_default_owner()}/{name}"
        else:
            source, location = "unpublished", preset.training_script
        infos.append(
            PresetInfo(
                name=name,
                description=preset.description,
                num_parameters=config_schema.num_parameters(**preset.vqvae),
                source=source,
                location=location,
                num_bytes=num_bytes,
            )
        )
    return infos


def weights_folder():
    """Folder of the weights that came with the package, None if without.

    Inside an installed wheel, or beside the package in a source checkout.
    """
    package = pathlib.Path(__file__).resolve().parent.parent
    if (package / "weights").is_dir():
        return package / "weights"
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file():
        if (checkout / "weights").is_dir():
            return checkout / "weights"
    return None


def bundled_weights():
    """Folders of the models that came with the package, by name."""
    root = weights_folder()
    if root is None:
        return {}
    return {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if (folder / WEIGHTS).is_file() and (folder / CONFIG).is_file()
    }


def from_preset_config(name, dtype=None):
    """Untrained `VQVAE2` with the sizes of a preset.

    Args:
        name: Name of a preset.
        dtype: Dtype policy; None takes Keras's global one.

    Returns:
        `VQVAE2`.

    Raises:
        ValueError: If there is no such preset.
    """
    preset = _preset(name)
    vqvae = HierarchicalVQVAE(**preset.vqvae, dtype=dtype)
    return VQVAE2(vqvae, name=name)


def from_pretrained(
    name_or_path,
    *,
    revision=None,
    token=None,
    cache_dir=None,
    local_files_only=False,
    force_download=False,
    owner=None,
    dtype=None,
):
    """Loads a trained model.

    A name is looked for as a folder, as a preset that came with the package,
    and on the Hugging Face Hub. The first two never touch the network. With
    `revision`, `force_download` or `owner`, a preset comes from the Hub.

    Args:
        name_or_path: Name of a preset (`"vqvae2-imagenet256"`), path of a
            folder that `save_pretrained` wrote, or a repository of the Hub:
            `"owner/name"`, `"owner/name@revision"`, `"hf://owner/name"`.
        revision: Branch, tag or commit of the repository.
        token: Access token of the Hub; None takes the one of `hf auth login`.
        cache_dir: Folder for downloads, as for `huggingface_hub`.
        local_files_only: Whether to use only what was downloaded before.
        force_download: Whether to download again.
        owner: Owner of the repository of a preset. None takes the environment
            variable `KERAS_VQVAE2_OWNER`, or `"keras-vqvae2"`.
        dtype: Dtype policy of the model, for example `"mixed_bfloat16"`; None
            takes Keras's global one.

    Returns:
        `VQVAE2`.

    Raises:
        ValueError: If the name is unknown, arguments contradict each other,
            or a file is damaged or outside its schema.
        FileNotFoundError: If the folder, repository, revision or file does
            not exist, the weights of the preset are not published, or the
            model is not in the cache and the Hub must not be asked.
        PermissionError: If the repository is gated or the token not accepted.
        ConnectionError: If the Hub cannot be reached or does not answer.
        OSError: If a download was cut short.

    Example:

    ```python
    model = keras_vqvae2.from_pretrained("vqvae2-imagenet256")
    ```
    """
    if force_download and local_files_only:
        raise ValueError(
            "`force_download` and `local_files_only` exclude each other."
        )
    from_hub = bool(revision or force_download or owner)
    folder = files.settled_folder(pathlib.Path(name_or_path).expanduser())
    if _is_path(name_or_path) or (not from_hub and (folder / CONFIG).is_file()):
        if from_hub:
            raise ValueError(
                f"{str(name_or_path)!r} is a folder: `revision`, "
                "`force_download` and `owner` are for the Hub."
            )
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {name_or_path}.")
        return _load(folder, dtype, "Copy or save it again.")

    name, revision = _split_revision(name_or_path, revision)
    from_hub = from_hub or revision is not None
    pin = None
    if "/" in name:
        if owner:
            raise ValueError(
                f"`owner` is for presets; {name!r} already names one."
            )
        repo_id = name
    else:
        preset = _preset(name)
        bundled = bundled_weights()
        if name in bundled and not from_hub:
            return _load(
                bundled[name],
                dtype,
                "Install keras-vqvae2 again, or restore the file from its "
                "repository.",
            )
        owner = owner or _default_owner()
        if not preset.published and owner == DEFAULT_OWNER:
            raise FileNotFoundError(
                f"Nobody has published weights for {name!r} yet. "
                f"`{preset.training_script}` of the source repository trains "
                f"them; `VQVAE2.from_preset_config({name!r})` is the untrained "
                "model."
            )
        repo_id = f"{owner}/{name}"
        if owner == DEFAULT_OWNER and revision is None:
            pin = preset.sums_sha256
    mend = (
        f"It is from {repo_id} on the Hub. If the download went wrong, "
        "`force_download=True` fetches it again."
    )
    folder, fetch = _download(
        repo_id,
        mend,
        pin,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    return _load(folder, dtype, mend, fetch)


def save_pretrained(model, folder, *, overwrite=False, card=None, license=None):
    """Saves a model as a folder, atomically.

    A kill at any moment leaves the old model or the new one to
    `from_pretrained`, never a mixture.

    Args:
        model: `VQVAE2`.
        folder: Folder to write.
        overwrite: Whether to replace a model that lies there. Other files in
            the folder, and its model card, are kept.
        card: Text of the model card, Markdown with the Hub's front matter.
            None writes a short one, unless there is one.
        license: Licence of the weights for that short card, as the Hub spells
            it: `"apache-2.0"`.

    Raises:
        FileExistsError: If something else lies there, or a model and
            `overwrite` is False.
        ValueError: If the model is larger than `from_pretrained` accepts, or
            `license` is not an identifier.

    Example:

    ```python
    model = keras_vqvae2.VQVAE2(keras_vqvae2.HierarchicalVQVAE())
    model.save_pretrained("my-model", license="apache-2.0")
    model = keras_vqvae2.from_pretrained("my-model")
    ```
    """
    folder = pathlib.Path(folder).expanduser().resolve()
    settled = files.settled_folder(folder)
    if settled.exists():
        _check_replaceable(settled, folder, overwrite)
    name = model.name or folder.name
    name = name if config_schema.is_name(name) else "model"
    config_schema.model_config(model.vqvae, name)  # raises
    with files.atomic_folder(folder) as new:
        weights.save_weights(model.vqvae, new / WEIGHTS)
        priors = {}
        for level in model.priors:
            prior = model.load_prior(level)
            priors[level] = prior.get_config()
            weights.save_weights(prior, new / _prior_file(level))
        config = config_schema.model_config(model.vqvae, name, priors)
        text = json.dumps(config, indent=2) + "\n"
        (new / CONFIG).write_text(text, "utf-8")
        files.write_sha256sums(
            new, (CONFIG, WEIGHTS, *map(_prior_file, priors))
        )
        if card is None and not (settled / CARD).exists():
            card = _short_card(config, license)
        if card is not None:
            (new / CARD).write_text(card, "utf-8")


def push_to_hub(
    model,
    repo_id,
    *,
    private=False,
    token=None,
    revision=None,
    commit_message=None,
    card=None,
    license=None,
):
    """Publishes a model on the Hugging Face Hub, as one commit.

    Args:
        model: `VQVAE2`.
        repo_id: Repository, `"owner/name"`. It is made if it does not exist.
        private: Whether a new repository is private.
        token: Access token with write permission; None takes the one of
            `hf auth login`.
        revision: Branch to commit to; it is made if it does not exist.
        commit_message: Message of the commit.
        card: Text of the model card. None writes a short one, unless the
            repository has one.
        license: Licence of the weights for that short card.

    Returns:
        URL of the commit.

    Raises:
        ValueError: If `repo_id`, `license` or the model card is not valid.
        PermissionError: If the token is missing or not allowed to write.
        ConnectionError: If the Hub cannot be reached or does not answer.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary, repo_id.split("/")[-1])
        save_pretrained(model, folder, card=card, license=license)
        return push_folder(
            folder,
            repo_id,
            private=private,
            token=token,
            revision=revision,
            commit_message=commit_message,
            replace_card=card is not None,
        )


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

    Every file of the folder goes there, hidden ones excepted. A damaged
    model is not published.

    Args:
        folder: Folder that `save_pretrained` wrote.
        repo_id: As for `push_to_hub`.
        private: As for `push_to_hub`.
        token: As for `push_to_hub`.
        revision: As for `push_to_hub`.
        commit_message: As for `push_to_hub`.
        replace_card: Whether to replace the repository's model card.

    Returns:
        URL of the commit.

    Raises:
        ValueError: If the model is damaged, or `repo_id` or the model card is
            not valid.
        PermissionError: If the token is missing or not allowed to write.
        ConnectionError: If the Hub cannot be reached or does not answer.
    """
    config = _check(folder, "It was not published.")
    api = huggingface_hub.HfApi(
        token=token,
        library_name="keras-vqvae2",
        library_version=keras_vqvae2.__version__,
    )
    ignored = [".*", "*/.*"]
    with _explained(repo_id, revision, writing=True):
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
            commit_message=commit_message or f"Upload {config['name']}",
            ignore_patterns=ignored,
        )
    return commit.commit_url


def push_all(owner=None, *, token=None, private=False, dry_run=False):
    """Publishes every model of `weights/` on the Hugging Face Hub.

    All are checked before the first is sent.

    Args:
        owner: Owner of the repositories. None takes the environment variable
            `KERAS_VQVAE2_OWNER`, or `"keras-vqvae2"`.
        token: As for `push_to_hub`.
        private: As for `push_to_hub`.
        dry_run: Whether to check only.

    Returns:
        Dictionary: URL of the commit by repository; None in a dry run.

    Raises:
        FileNotFoundError: If no weights lie there.
        ValueError: If a model is damaged.
        PermissionError: If the token is missing or not allowed to write.
        ConnectionError: If the Hub cannot be reached or does not answer.
    """
    owner = owner or _default_owner()
    bundled = bundled_weights()
    if not bundled:
        raise FileNotFoundError(
            "No weights came with this installation of keras-vqvae2: there is "
            "nothing to publish."
        )
    for folder in bundled.values():
        _check(folder, "Nothing was published.")
    return {
        f"{owner}/{name}": None
        if dry_run
        else push_folder(
            folder, f"{owner}/{name}", token=token, private=private
        )
        for name, folder in bundled.items()
    }


def _prior_file(level):
    return f"prior_{level}.safetensors"


def _default_owner():
    return os.environ.get(OWNER_VARIABLE) or DEFAULT_OWNER


def _preset(name):
    if name in PRESETS:
        return PRESETS[name]
    close = difflib.get_close_matches(name, PRESETS, 1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"There is no preset and no saved model {name!r}.{hint} Presets: "
        f"{', '.join(PRESETS)}. A repository of the Hub is 'owner/name'."
    )


def _is_path(name_or_path):
    """Whether this can only be a path."""
    if not isinstance(name_or_path, str):
        return True
    if name_or_path.startswith("hf://"):
        return False
    return (
        name_or_path in ("", ".", "..", "~")
        or name_or_path.startswith(("./", "../", "/", "~/"))
        or "\\" in name_or_path
        or name_or_path.partition("@")[0].count("/") > 1
    )


def _split_revision(name, revision):
    """`(name, revision)` of `hf://owner/name@revision` and shorter forms."""
    bare, at, in_name = name.removeprefix("hf://").partition("@")
    if name.startswith("hf://") and not re.fullmatch(r"[^/]+/[^/]+", bare):
        raise ValueError(
            f"{name!r} must be 'hf://owner/name' or 'hf://owner/name@revision'."
        )
    if not at:
        return bare, revision
    if not in_name or revision not in (None, in_name):
        raise ValueError(
            f"{name!r} and revision={revision!r} must name one revision."
        )
    return bare, in_name


def _download(repo_id, mend, pin, *, revision, **kwargs):
    """`(folder, fetch)` of a downloaded repository: one commit of it.

    `fetch(name)` downloads a file that is not needed at once.
    """

    def download(name, commit):
        with _explained(repo_id, revision, **kwargs):
            path = huggingface_hub.hf_hub_download(
                repo_id,
                name,
                revision=commit,
                library_name="keras-vqvae2",
                library_version=keras_vqvae2.__version__,
                **kwargs,
            )
        return pathlib.Path(path).parent

    folder = download(CONFIG, revision)
    # A branch may move on between two files: stay with one commit.
    commit = folder.name
    download(SUMS, commit)
    if pin is not None:
        _check_sha256(folder / SUMS, pin, "keras-vqvae2", mend)
    _check_config(folder, mend)  # before the large file
    download(WEIGHTS, commit)
    return folder, lambda name: download(name, commit)


def _check_config(folder, mend):
    sums = files.read_sha256sums(folder / SUMS)
    _check_sha256(folder / CONFIG, sums.get(CONFIG), SUMS, mend)
    return config_schema.read_config(folder / CONFIG)


def _check(folder, mend):
    """The config of a saved model whose files hash to what they must."""
    folder = pathlib.Path(folder)
    for name in (CONFIG, SUMS, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} is not a model that keras-vqvae2 saved: there is "
                f"no {name}."
            )
    config = _check_config(folder, mend)
    digest = files.read_sha256sums(folder / SUMS).get(WEIGHTS)
    _check_sha256(folder / WEIGHTS, digest, SUMS, mend)
    return config


def _check_sha256(path, digest, source, mend):
    received = files.sha256(path)
    if received != digest:
        raise ValueError(
            f"{path} is damaged: {source} says that its SHA-256 is {digest}, "
            f"but it is {received}. {mend}"
        )


def _load(folder, dtype, mend, fetch=None):
    config = _check(folder, mend)
    vqvae = HierarchicalVQVAE(**config["vqvae"], dtype=dtype)
    weights.load_weights(vqvae, pathlib.Path(folder) / WEIGHTS)
    priors = {
        level: functools.partial(
            _load_prior, folder, level, arguments, dtype, mend, fetch
        )
        for level, arguments in config.get("priors", {}).items()
    }
    return VQVAE2(vqvae, name=config["name"], priors=priors)


def _load_prior(folder, level, arguments, dtype, mend, fetch):
    name = _prior_file(level)
    if fetch is not None:
        fetch(name)
    digest = files.read_sha256sums(folder / SUMS).get(name)
    _check_sha256(folder / name, digest, SUMS, mend)
    prior = PixelSNAILPrior(**arguments, dtype=dtype)
    weights.load_weights(prior, folder / name)
    return prior


def _check_replaceable(settled, folder, overwrite):
    if not settled.is_dir():
        raise FileExistsError(f"{folder} is a file: name a folder.")
    if not any(settled.iterdir()):
        return
    try:
        config_schema.read_config(settled / CONFIG)
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


def _short_card(config, license):
    if license is not None and not re.fullmatch(r"[a-z0-9.-]+", license):
        raise ValueError(
            "`license` must be an identifier of the Hub, for example "
            f"'apache-2.0'. Received: {license!r}"
        )
    rows = "\n".join(
        f"| `{key}` | {json.dumps(value)} |"
        for key, value in config["vqvae"].items()
    )
    priors = config.get("priors", {})
    prior_rows = "".join(
        f"\n| prior `{level}` | "
        f"{config_schema.num_prior_parameters(**prior)} parameters |"
        for level, prior in priors.items()
    )
    generate = ""
    if set(priors) == set(
        config_schema.level_names(len(config["vqvae"]["strides"]))
    ):
        classes = priors["top"]["num_classes"]
        what = "16" if classes is None else f"labels=[0, {classes - 1}]"
        generate = f"\nimages = model.generate({what})"
    return f"""---
library_name: keras-vqvae2
tags:
- keras
- vq-vae-2
{f"license: {license}" if license else "# license: say which"}
---

# {config["name"]}

A VQ-VAE-2 image autoencoder (arXiv 1906.00446) of
{config_schema.num_parameters(**config["vqvae"])} parameters: it turns images
into maps of discrete codes, and codes into images.

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


@contextlib.contextmanager
def _explained(
    repo_id,
    revision,
    *,
    token=None,
    cache_dir=None,
    local_files_only=False,
    force_download=False,
    writing=False,
):
    """Turns what huggingface_hub raises into one error that says what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
        explained = _explain(
            error, repo_id, revision, local_files_only, writing
        )
        if explained is None:
            raise
        raise explained from error


def _explain(error, repo_id, revision, local_files_only, writing):
    """The error to raise instead, None for one that says enough by itself."""
    # The client wraps what the Hub answered in one of these.
    wrappers = (ValueError, RuntimeError, errors.LocalEntryNotFoundError)
    if isinstance(error, wrappers) and isinstance(
        error.__cause__, (errors.HTTPError, errors.OfflineModeIsEnabled)
    ):
        if not (writing and isinstance(error, ValueError)):  # a bad card
            error = error.__cause__
    where = f"{repo_id} on the Hub"
    at = f"{where}, revision {revision!r}" if revision else where
    log_in = "log in with `hf auth login`, or pass `token`"
    status = getattr(getattr(error, "response", None), "status_code", None)

    if isinstance(error, errors.HFValidationError):
        return ValueError(
            f"{repo_id!r} is not a repository of the Hub: it must be "
            f"'owner/name'. {error}"
        )
    if isinstance(error, errors.GatedRepoError):
        return PermissionError(
            f"{where} is gated: accept its terms on its page, then {log_in}."
        )
    if writing and status in (401, 403):
        return PermissionError(
            f"The Hub does not let you write to {repo_id}: {log_in}; the token "
            "needs write permission."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return FileNotFoundError(
            f"There is no repository {repo_id} on the Hub (nor a folder of "
            f"that name), or it is private. Check the name, or {log_in}."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return FileNotFoundError(
            f"{where} has no revision {revision!r}: name a branch, a tag or a "
            "commit."
        )
    if isinstance(error, errors.RemoteEntryNotFoundError):
        name = str(error.response.url).rpartition("/")[2]
        return FileNotFoundError(
            f"{at} has no {name}: it is not a model that keras-vqvae2 saved."
        )
    if status in (401, 403):
        return PermissionError(
            f"The Hub does not let you read {repo_id}: {log_in} that is valid."
        )
    offline = local_files_only or huggingface_hub.is_offline_mode()
    if offline and isinstance(
        error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    ):
        if writing:
            return ConnectionError(
                "The Hub must not be asked (HF_HUB_OFFLINE): nothing was "
                "published."
            )
        return FileNotFoundError(
            f"{at} is not in the cache, and the Hub must not be asked "
            "(`local_files_only` or HF_HUB_OFFLINE). Load it once with a "
            "connection."
        )
    if "Consistency check failed" in str(error):
        return OSError(
            f"The download of {at} was cut short. Try again. ({error})"
        )
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.HTTPError)):
        verb = "answered with an error" if status else "cannot be reached"
        tried = "" if writing else ", and it is not in the cache"
        return ConnectionError(
            f"{at}: the Hub {verb}, also after retries{tried}. Check the "
            f"connection, proxy and HF_ENDPOINT, or try later. ({error})"
        )
    return None

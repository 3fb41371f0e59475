"""From a name to the verified files of a saved model."""

import os
import pathlib
import re

import keras_vqvae2
from keras_vqvae2 import files
from keras_vqvae2.hub import patience
from keras_vqvae2.hub.config import read_config
from keras_vqvae2.hub.errors import error_with_hint
from keras_vqvae2.hub.errors import explained
from keras_vqvae2.hub.names import CONFIG
from keras_vqvae2.hub.names import CONTEXT
from keras_vqvae2.hub.names import SUMS
from keras_vqvae2.hub.names import WEIGHTS
from keras_vqvae2.hub.names import prior_file
from keras_vqvae2.hub.presets import DEFAULT_OWNER
from keras_vqvae2.hub.presets import PRESETS
from keras_vqvae2.hub.presets import bundled_weights
from keras_vqvae2.hub.presets import default_owner
from keras_vqvae2.hub.presets import find_preset
from keras_vqvae2.hub.presets import find_script

# How often a folder is read that others go on replacing.
_ATTEMPTS = 20


class Snapshot:
    """Files of a saved model, each verified when its path is asked for.

    Args:
        locate: Function from a file's name to its local path, which downloads
            the file if it has to.
        advice: What to do if a file is damaged, for its error.
        hint: The same for callers from Python alone, or None.
        sums_sha256: SHA-256 that `SHA256SUMS` must have, or None.

    Attributes:
        config: `ModelConfig`.

    Raises:
        FileNotFoundError: If the config or the hashes are missing.
        ValueError: If a file is damaged or outside its schema.
    """

    def __init__(self, locate, advice, hint=None, sums_sha256=None):
        self._locate = locate
        self._advice = advice
        self._hint = hint
        config = self._existing(CONFIG)
        sums = self._existing(SUMS)
        if sums_sha256 is not None:
            self._check(sums, sums_sha256, "keras-vqvae2")
        self._sums = files.read_sha256sums(sums)
        self._check(config, self._sums.get(CONFIG), SUMS)
        self.config = read_config(config)

    def path(self, name):
        """Local path of a file whose SHA-256 is that of `SHA256SUMS`.

        Args:
            name: Name of the file: `"model.safetensors"`.

        Returns:
            `pathlib.Path`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or has no hash.
        """
        path = self._existing(name)
        self._check(path, self._sums.get(name), SUMS)
        return path

    def verify(self):
        """Raises an error as `path` does, unless every file is whole.

        These are the files that `SHA256SUMS` lists and those that the config
        needs.
        """
        priors = map(prior_file, self.config.priors)
        context = [] if self.config.context is None else [CONTEXT]
        for name in sorted({CONFIG, WEIGHTS, *priors, *context, *self._sums}):
            self.path(name)

    def _existing(self, name):
        path = self._locate(name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.parent} is not a model that keras-vqvae2 saved: there "
                f"is no {name}."
            )
        return path

    def _check(self, path, expected, source):
        received = files.sha256(path)
        if received == expected:
            return
        problem = (
            f"{source} does not list it"
            if expected is None
            else f"{source} says that its SHA-256 is {expected}, but it is "
            f"{received}"
        )
        message = f"{path} is damaged: {problem}. {self._advice}"
        if self._hint is None:
            raise ValueError(message)
        raise error_with_hint(ValueError, message, self._hint)


def find_snapshot(
    name_or_path,
    *,
    revision=None,
    token=None,
    cache_dir=None,
    local_files_only=False,
    force_download=False,
):
    """The files of a trained model; arguments as for `from_pretrained`.

    Returns:
        `Snapshot`. Weights are downloaded when their path is asked for.

    Raises:
        ValueError: If the name is unknown, arguments contradict each other,
            or a file is damaged or outside its schema.
        FileNotFoundError: If the folder, repository, revision or file does
            not exist, the weights of the preset are not published, or the
            model is not in the cache and downloads are forbidden.
        PermissionError: If the repository is gated or the token not accepted.
        ConnectionError: If the Hub cannot be reached or does not answer.
        OSError: If a download was cut short.
    """
    if force_download and local_files_only:
        raise ValueError(
            "`force_download` and `local_files_only` exclude each other."
        )
    from_hub = bool(revision or force_download)
    # Unlike pathlib's, it leaves the home of an unknown user as it is.
    folder = files.settled_folder(os.path.expanduser(name_or_path))
    if _is_path(name_or_path) or (not from_hub and (folder / CONFIG).is_file()):
        if from_hub:
            raise ValueError(
                f"{str(name_or_path)!r} is a folder: `revision` and "
                "`force_download` are for the Hub."
            )
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {name_or_path}.")
        _check_model_inside(folder)
        return folder_snapshot(folder)
    if not from_hub and name_or_path not in PRESETS and folder.is_dir():
        _check_model_inside(folder)

    repo_id, revision = _split_revision(name_or_path, revision)
    sums_sha256 = None
    if "/" not in repo_id:
        name, owner = repo_id, default_owner()
        preset = find_preset(name)
        bundled = bundled_weights()
        if name in bundled and not (force_download or revision):
            return folder_snapshot(
                bundled[name],
                "Install keras-vqvae2 again, or restore the file from its "
                "repository.",
            )
        if not preset.published and owner == DEFAULT_OWNER:
            raise error_with_hint(
                FileNotFoundError,
                f"Nobody has published weights for {name!r} yet. "
                f"`{find_script(preset)}` trains them.",
                f"`VQVAE2.from_preset_config({name!r})` is the untrained "
                "model.",
            )
        repo_id = f"{owner}/{name}"
        if owner == DEFAULT_OWNER and revision is None:
            sums_sha256 = preset.sums_sha256
    download = _Download(
        repo_id,
        revision,
        force_download,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    in_cache = f"models--{repo_id.replace('/', '--')}"
    return Snapshot(
        download,
        f"It is from {repo_id} on the Hub. If the download went wrong, delete "
        f"the folder {in_cache} in the cache and load the model again.",
        "`force_download=True` does both.",
        sums_sha256,
    )


def _check_model_inside(folder):
    """Raises FileNotFoundError unless a folder holds a saved model."""
    if (folder / CONFIG).is_file():
        return
    run = (folder / "model" / CONFIG).is_file()
    where = f" Its model is in {folder / 'model'}." if run else ""
    raise FileNotFoundError(
        f"The folder {folder} is not a model that keras-vqvae2 saved: there "
        f"is no {CONFIG}.{where}"
    )


def load_snapshot(load, name_or_path, **options):
    """What a function makes of a saved model, whole.

    Another process may replace a folder while it is read; then it is read
    again.

    Args:
        load: Function of a `Snapshot`.
        name_or_path: As for `find_snapshot`.
        **options: As for `find_snapshot`.

    Returns:
        What `load` returns.

    Raises:
        As `find_snapshot` and `load`.
    """
    for attempt in range(_ATTEMPTS):
        before = _identity(name_or_path)
        try:
            loaded = load(find_snapshot(name_or_path, **options))
        except (OSError, ValueError):
            if _identity(name_or_path) == before or attempt == _ATTEMPTS - 1:
                raise
        else:
            if _identity(name_or_path) == before:
                break
    return loaded


def _identity(name_or_path):
    """What changes when a folder is replaced, None without a folder."""
    try:
        folder = files.settled_folder(pathlib.Path(name_or_path).expanduser())
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def folder_snapshot(folder, advice="Copy or save it again."):
    """The `Snapshot` of a folder.

    Args:
        folder: Folder that `save_pretrained` wrote.
        advice: What to do if a file is damaged, for its error.
    """
    return Snapshot(pathlib.Path(folder).joinpath, advice)


class _Download:
    """Paths of the files of one commit of a repository, by their names.

    `force_download` is for the first download of each file.
    """

    def __init__(self, repo_id, revision, force_download, **options):
        self.repo_id = repo_id
        self.revision = revision
        self.force_download = force_download
        self.options = options
        self.commit = None
        self.downloaded = set()

    def __call__(self, name):
        force = self.force_download and name not in self.downloaded
        with explained(self.repo_id, self.revision, **self.options):
            path = patience.download(
                self.repo_id,
                name,
                # A branch may move on between two files: stay with a commit.
                revision=self.commit or self.revision,
                force_download=force,
                library_name="keras-vqvae2",
                library_version=keras_vqvae2.__version__,
                **self.options,
            )
        path = pathlib.Path(path)
        self.commit = path.parent.name
        self.downloaded.add(name)
        return path


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
    if not in_name:
        raise ValueError(
            f"{name!r} must name a branch, a tag or a commit after '@'."
        )
    if revision not in (None, in_name):
        raise ValueError(
            f"{name!r} and revision={revision!r} must name one revision."
        )
    return bare, in_name

"""What huggingface_hub raises, as errors that say what to do."""

import contextlib

from keras_vqvae2.backend.lazy_module import LazyModule

huggingface_hub = LazyModule("huggingface_hub")
errors = LazyModule("huggingface_hub.errors")


def error_with_hint(kind, message, hint):
    """An error whose last sentence is for callers from Python.

    The command line prints `without_hint`, an attribute of the error, since
    its users have no Python arguments to pass.

    Args:
        kind: Class of the error.
        message: What went wrong.
        hint: What to do in Python: a whole sentence.
    """
    error = kind(f"{message} {hint}")
    error.without_hint = message
    return error


@contextlib.contextmanager
def explained(
    repo_id,
    revision,
    *,
    token=None,
    cache_dir=None,
    local_files_only=False,
    force_download=False,
    writing=False,
):
    """Turns what huggingface_hub raises into one error that says what to do.

    Args:
        repo_id: Repository that is read or written.
        revision: Branch, tag or commit that the caller named, or None.
        token: As for `find_snapshot`.
        cache_dir: As for `find_snapshot`.
        local_files_only: As for `find_snapshot`.
        force_download: As for `find_snapshot`.
        writing: Whether the repository is written.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError, errors.HTTPError) as error:
        explanation = _explain(
            _cause(error, writing),
            repo_id,
            revision,
            token,
            local_files_only,
            writing,
        )
        if explanation is None:
            raise
        raise explanation from error


def _cause(error, writing):
    """What the Hub answered, which the client wraps in other errors."""
    wrappers = (ValueError, RuntimeError, errors.LocalEntryNotFoundError)
    answers = (errors.HTTPError, errors.OfflineModeIsEnabled)
    bad_card = writing and isinstance(error, ValueError)
    if (
        isinstance(error, wrappers)
        and isinstance(error.__cause__, answers)
        and not bad_card
    ):
        return error.__cause__
    return error


def _explain(error, repo_id, revision, token, local_files_only, writing):
    """The error to raise instead, None for one that says enough by itself."""
    where = f"{repo_id} on the Hub"
    at = f"{where}, revision {revision!r}" if revision else where
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if token:
        log_in = "pass another `token`"
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
            f"The Hub does not let you write to {repo_id}: {log_in}. The token "
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
            f"The Hub does not let you read {repo_id}: {log_in}."
        )
    offline = local_files_only or huggingface_hub.is_offline_mode()
    if offline and isinstance(
        error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)
    ):
        if writing:
            return ConnectionError(
                "HF_HUB_OFFLINE is set, so nothing was published."
            )
        why = (
            "`local_files_only=True`" if local_files_only else "HF_HUB_OFFLINE"
        )
        return FileNotFoundError(
            f"{at} is not in the cache, and {why} forbids a download. Load it "
            "once with a connection."
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

"""`from_pretrained`, `save_pretrained` and `push_to_hub` of the models."""

import functools
import pathlib
import tempfile

from keras_vqvae2.hub.publish import push_folder
from keras_vqvae2.hub.publish import save_folder
from keras_vqvae2.hub.store import load_snapshot


class HubMixin:
    """Loads and saves a model.

    A class with it defines `from_snapshot`, a classmethod that takes a
    `Snapshot` and a dtype policy, and `_saved_models`.
    """

    @classmethod
    def from_pretrained(
        cls,
        name_or_path,
        *,
        revision=None,
        token=None,
        cache_dir=None,
        local_files_only=False,
        force_download=False,
        dtype=None,
    ):
        """Loads a trained model.

        A name is looked for as a folder, as a preset that came with the
        package, and on the Hugging Face Hub. The first two never touch the
        network. With `revision` or `force_download`, a preset comes from the
        Hub.

        Args:
            name_or_path: Name of a preset (`"vqvae2-imagenet256"`), path of a
                folder that `save_pretrained` wrote, or a repository of the
                Hub: `"owner/name"`, `"owner/name@revision"`,
                `"hf://owner/name"`. The owner of a preset's repository is
                `"keras-vqvae2"`, or what the environment variable
                `KERAS_VQVAE2_OWNER` says.
            revision: Branch, tag or commit of the repository.
            token: Access token of the Hub; None takes the one of
                `hf auth login`.
            cache_dir: Folder for downloads, as for `huggingface_hub`.
            local_files_only: Whether to use only what was downloaded before.
            force_download: Whether to download every file again, once.
            dtype: Dtype policy of the model, for example `"mixed_bfloat16"`;
                None takes Keras's global one.

        Returns:
            Instance of the class; of `VQVAE2` for
            `keras_vqvae2.from_pretrained`. Priors are downloaded and built
            when they are used.

        Raises:
            ValueError: If the name is unknown, arguments contradict each
                other, or a file is damaged or outside its schema.
            FileNotFoundError: If the folder, repository, revision or file
                does not exist, the weights of the preset are not published,
                or the model is not in the cache and downloads are forbidden.
            PermissionError: If the repository is gated or the token not
                accepted.
            ConnectionError: If the Hub cannot be reached or does not answer.
            OSError: If a download was cut short.

        Example:

        ```python
        model = keras_vqvae2.from_pretrained("vqvae2-imagenet256")
        ```
        """
        return load_snapshot(
            functools.partial(cls.from_snapshot, dtype=dtype),
            name_or_path,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )

    def _saved_models(self):
        """Arguments of `save_folder` that describe this model.

        Each class with this mixin has its own.
        """
        raise NotImplementedError

    def save_pretrained(
        self, folder, *, overwrite=False, card=None, license=None
    ):
        """Saves the model as a folder, atomically.

        A kill at any moment leaves the old model or the new one to
        `keras_vqvae2.from_pretrained`, never a mixture.

        Args:
            folder: Folder to write.
            overwrite: Whether to replace a model that lies there. Other files
                in the folder, and its model card, are kept.
            card: Text of the model card, Markdown with the Hub's front
                matter. None writes a short one, unless there is one.
            license: Licence of the weights for that short card, as the Hub
                spells it: `"apache-2.0"`.

        Raises:
            FileExistsError: If something else lies there, or a model and
                `overwrite` is False.
            ValueError: If the model is larger than `from_pretrained` accepts,
                or `license` is not an identifier.

        Example:

        ```python
        model = keras_vqvae2.HierarchicalVQVAE(hidden_dim=32)
        model.save_pretrained(folder / "my-model", license="apache-2.0")
        model = keras_vqvae2.from_pretrained(folder / "my-model")
        ```
        """
        save_folder(
            folder=folder,
            overwrite=overwrite,
            card=card,
            license=license,
            **self._saved_models(),
        )

    def push_to_hub(
        self,
        repo_id,
        *,
        private=False,
        token=None,
        revision=None,
        commit_message=None,
        card=None,
        license=None,
    ):
        """Publishes the model on the Hugging Face Hub, as one commit.

        Args:
            repo_id: Repository, `"owner/name"`. It is created if it does not
                exist.
            private: Whether a new repository is private.
            token: Access token with write permission; None takes the one of
                `hf auth login`.
            revision: Branch to commit to; it is created if it does not exist.
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
            self.save_pretrained(folder, card=card, license=license)
            return push_folder(
                folder,
                repo_id,
                private=private,
                token=token,
                revision=revision,
                commit_message=commit_message,
                replace_card=card is not None,
            )

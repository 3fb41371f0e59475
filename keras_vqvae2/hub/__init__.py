"""Loads, saves and publishes models."""

from keras_vqvae2.hub.store import bundled_weights
from keras_vqvae2.hub.store import from_preset_config
from keras_vqvae2.hub.store import from_pretrained
from keras_vqvae2.hub.store import list_presets
from keras_vqvae2.hub.store import push_all
from keras_vqvae2.hub.store import push_folder
from keras_vqvae2.hub.store import push_to_hub
from keras_vqvae2.hub.store import save_pretrained
from keras_vqvae2.hub.store import weights_folder

__all__ = [
    "bundled_weights",
    "from_preset_config",
    "from_pretrained",
    "list_presets",
    "push_all",
    "push_folder",
    "push_to_hub",
    "save_pretrained",
    "weights_folder",
]

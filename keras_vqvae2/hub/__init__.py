"""From names to verified files of saved models, and from models to the Hub.

Nothing here knows a class of the models: these build themselves from a
`Snapshot`.
"""

from keras_vqvae2.hub.presets import PresetInfo
from keras_vqvae2.hub.presets import bundled_weights
from keras_vqvae2.hub.presets import list_presets
from keras_vqvae2.hub.presets import weights_folder
from keras_vqvae2.hub.publish import push_all
from keras_vqvae2.hub.publish import push_folder
from keras_vqvae2.hub.store import Snapshot
from keras_vqvae2.hub.store import find_snapshot

__all__ = [
    "PresetInfo",
    "Snapshot",
    "bundled_weights",
    "find_snapshot",
    "list_presets",
    "push_all",
    "push_folder",
    "weights_folder",
]

"""Keras finds the classes of this library, though none is imported yet.

`keras.models.load_model` looks names up in Keras's table of registered
classes. A class enters it when its module is imported, which takes Keras and
a backend: `import keras_vqvae2` does without. So, as soon as Keras is there,
a stand-in enters the table for each class.
"""

import importlib
import importlib.abc
import importlib.util
import sys

_PACKAGE = __name__.partition(".")[0]

# A test compares these with what the modules register.
MODULE_OF = {
    "CausalSelfAttention": "layers",
    "CodebookPerplexity": "training.codebook_perplexity",
    "CodebookUsage": "training.codebook_usage",
    "ContextNetwork": "models",
    "Decoder": "layers",
    "Encoder": "layers",
    "GatedMaskedConv2D": "layers",
    "HierarchicalVQVAE": "models",
    "Muon": "training",
    "PixelSNAILPrior": "models",
    "ResidualStack": "layers",
    "VectorQuantizer": "layers",
    "VectorQuantizerEMA": "layers",
    "WarmupStableDecay": "training",
}


class _StandIn:
    """In Keras's table until the class itself replaces it there."""

    def __init__(self, name):
        self.name = name

    def load(self):
        module = f"{_PACKAGE}.{MODULE_OF[self.name]}"
        return getattr(importlib.import_module(module), self.name)

    def from_config(self, config):
        return self.load().from_config(config)


def _register(keras):
    table = keras.saving.get_custom_objects()
    for name in MODULE_OF:
        table.setdefault(f"{_PACKAGE}>{name}", _StandIn(name))


class _AfterKeras(importlib.abc.MetaPathFinder):
    """Registers when Keras has been imported, by whomever."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        sys.meta_path.insert(0, self)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                sys.meta_path.remove(self)
                _register(module)

            spec.loader.exec_module = exec_module
        return spec


def register():
    """Makes Keras find the classes: now, or as soon as it is imported."""
    keras = sys.modules.get("keras")
    if keras is not None and hasattr(keras, "saving"):
        _register(keras)
    else:
        sys.meta_path.insert(0, _AfterKeras())

"""VQ-VAE-2 for Keras 3.

Everything below is there after `import keras_vqvae2`; each part is loaded
when it is first used.
"""

import importlib

__version__ = "0.1.0"

_MODULE_OF = {
    "HierarchicalVQVAE": "models",
    "PixelSNAILPrior": "models",
    "VQVAE2": "vqvae2",
    "from_pretrained": "vqvae2",
    "from_pytorch": "pytorch_import",
}
_MODULES = (
    "codec",
    "data",
    "demo",
    "evaluation",
    "hub",
    "layers",
    "models",
    "recipes",
    "sampling",
    "training",
    "visualization",
)

__all__ = sorted([*_MODULE_OF, *_MODULES])


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _MODULE_OF:
        module = importlib.import_module(f"{__name__}.{_MODULE_OF[name]}")
        value = getattr(module, name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *__all__})

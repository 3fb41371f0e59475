"""VQ-VAE-2 for Keras 3.

Everything below is there after `import keras_vqvae2`; each part is loaded
when it is first used.
"""

import importlib
import typing

from keras_vqvae2 import registration

if typing.TYPE_CHECKING:  # for editors, which run nothing
    from keras_vqvae2 import codec
    from keras_vqvae2 import data
    from keras_vqvae2 import demo
    from keras_vqvae2 import evaluation
    from keras_vqvae2 import hub
    from keras_vqvae2 import layers
    from keras_vqvae2 import models
    from keras_vqvae2 import recipes
    from keras_vqvae2 import sampling
    from keras_vqvae2 import training
    from keras_vqvae2 import visualization
    from keras_vqvae2.models import HierarchicalVQVAE
    from keras_vqvae2.models import PixelSNAILPrior
    from keras_vqvae2.pytorch_import import from_pytorch
    from keras_vqvae2.vqvae2 import VQVAE2
    from keras_vqvae2.vqvae2 import from_pretrained

__version__ = "0.1.0"
__all__ = [
    "HierarchicalVQVAE",
    "PixelSNAILPrior",
    "VQVAE2",
    "codec",
    "data",
    "demo",
    "evaluation",
    "from_pretrained",
    "from_pytorch",
    "hub",
    "layers",
    "models",
    "recipes",
    "sampling",
    "training",
    "visualization",
]

# Of those that are not modules themselves.
_MODULE_OF = {
    "HierarchicalVQVAE": "models",
    "PixelSNAILPrior": "models",
    "VQVAE2": "vqvae2",
    "from_pretrained": "vqvae2",
    "from_pytorch": "pytorch_import",
}

registration.register()


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULE_OF.get(name, name)}")
    if name not in _MODULE_OF:
        return module
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})

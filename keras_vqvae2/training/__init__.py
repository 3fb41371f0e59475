"""Training steps, optimizers, schedules, metrics and checkpoints."""

import importlib

import keras

from keras_vqvae2.backend.distribution import distribute
from keras_vqvae2.training.built_in_loss import BuiltInLoss
from keras_vqvae2.training.code_likelihood import CodeLikelihood
from keras_vqvae2.training.codebook_perplexity import CodebookPerplexity
from keras_vqvae2.training.codebook_usage import CodebookUsage
from keras_vqvae2.training.muon import Muon
from keras_vqvae2.training.reconstruction_loss import ReconstructionLoss
from keras_vqvae2.training.resumable_fit import resumable_fit
from keras_vqvae2.training.training_log import TrainingLog
from keras_vqvae2.training.warmup_stable_decay import WarmupStableDecay

# The one of the running backend: the others import theirs.
_STEPS = {
    "tensorflow": "TensorFlowStep",
    "jax": "JAXStep",
    "torch": "TorchStep",
}
if keras.backend.backend() not in _STEPS:
    raise ImportError(
        "keras-vqvae2 runs on the tensorflow, jax and torch backends of Keras. "
        f"KERAS_BACKEND is {keras.backend.backend()!r}."
    )
BackendStep = getattr(
    importlib.import_module(
        f"keras_vqvae2.training.{keras.backend.backend()}_step"
    ),
    _STEPS[keras.backend.backend()],
)

__all__ = [
    "BackendStep",
    "BuiltInLoss",
    "CodeLikelihood",
    "CodebookPerplexity",
    "CodebookUsage",
    "Muon",
    "ReconstructionLoss",
    "TrainingLog",
    "WarmupStableDecay",
    "distribute",
    "resumable_fit",
]

"""What training needs beside layers and models."""

import keras

from keras_vqvae2.backend.distribution import distribute
from keras_vqvae2.training.codebook_perplexity import CodebookPerplexity
from keras_vqvae2.training.codebook_usage import CodebookUsage
from keras_vqvae2.training.muon import Muon
from keras_vqvae2.training.own_loss import OwnLoss
from keras_vqvae2.training.resumable_fit import resumable_fit
from keras_vqvae2.training.training_log import TrainingLog
from keras_vqvae2.training.warmup_stable_decay import WarmupStableDecay

if keras.backend.backend() == "tensorflow":
    from keras_vqvae2.training.tensorflow_step import (
        TensorFlowStep as BackendStep,
    )
elif keras.backend.backend() == "jax":
    from keras_vqvae2.training.jax_step import JAXStep as BackendStep
elif keras.backend.backend() == "torch":
    from keras_vqvae2.training.torch_step import TorchStep as BackendStep
else:
    raise ImportError(
        "keras-vqvae2 runs on the tensorflow, jax and torch backends of Keras. "
        f"KERAS_BACKEND is {keras.backend.backend()!r}."
    )

__all__ = [
    "BackendStep",
    "CodebookPerplexity",
    "CodebookUsage",
    "Muon",
    "OwnLoss",
    "TrainingLog",
    "WarmupStableDecay",
    "distribute",
    "resumable_fit",
]

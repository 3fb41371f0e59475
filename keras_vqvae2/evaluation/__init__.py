"""Metrics of a generative model: reconstruction, likelihood, samples.

Small functions of NumPy arrays, and `evaluate`, which applies all of them to a
`VQVAE2`.
"""

from keras_vqvae2.evaluation.card import write_card
from keras_vqvae2.evaluation.classifier import classification_accuracy_score
from keras_vqvae2.evaluation.classifier import fit_classifier
from keras_vqvae2.evaluation.classifier import load_classifier
from keras_vqvae2.evaluation.classifier import make_classifier
from keras_vqvae2.evaluation.classifier import top_k_accuracy
from keras_vqvae2.evaluation.evaluate import evaluate
from keras_vqvae2.evaluation.features import FeatureExtractor
from keras_vqvae2.evaluation.features import inception_v3
from keras_vqvae2.evaluation.features import torch_fidelity_inception
from keras_vqvae2.evaluation.frechet_distance import FeatureStatistics
from keras_vqvae2.evaluation.frechet_distance import frechet_distance
from keras_vqvae2.evaluation.inception_score import inception_score
from keras_vqvae2.evaluation.likelihood import negative_log_likelihood
from keras_vqvae2.evaluation.precision_recall import precision_recall
from keras_vqvae2.evaluation.reconstruction import ReconstructionMetrics
from keras_vqvae2.evaluation.reconstruction import code_usage
from keras_vqvae2.evaluation.reconstruction import ssim

__all__ = [
    "FeatureExtractor",
    "FeatureStatistics",
    "ReconstructionMetrics",
    "classification_accuracy_score",
    "code_usage",
    "evaluate",
    "fit_classifier",
    "frechet_distance",
    "inception_score",
    "inception_v3",
    "load_classifier",
    "make_classifier",
    "negative_log_likelihood",
    "precision_recall",
    "ssim",
    "top_k_accuracy",
    "torch_fidelity_inception",
    "write_card",
]

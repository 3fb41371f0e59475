"""Codes of new images, drawn from priors."""

from keras_vqvae2.sampling import prior_state
from keras_vqvae2.sampling import rejection
from keras_vqvae2.sampling.cached_sampler import CachedSampler
from keras_vqvae2.sampling.candidates import Candidates
from keras_vqvae2.sampling.code_sampler import CodeSampler
from keras_vqvae2.sampling.draws import draw_codes
from keras_vqvae2.sampling.draws import gumbel_noise
from keras_vqvae2.sampling.draws import truncate_logits
from keras_vqvae2.sampling.draws import uniform_draws
from keras_vqvae2.sampling.fixed_point_sampler import FixedPointSampler
from keras_vqvae2.sampling.generate import generate_codes
from keras_vqvae2.sampling.log_probabilities import LogProbabilities

__all__ = [
    "CachedSampler",
    "Candidates",
    "CodeSampler",
    "FixedPointSampler",
    "LogProbabilities",
    "draw_codes",
    "gumbel_noise",
    "generate_codes",
    "prior_state",
    "rejection",
    "truncate_logits",
    "uniform_draws",
]

import dataclasses

import keras

from keras_vqvae2.training import Muon

OPTIMIZERS = {"muon": Muon, "adam": keras.optimizers.Adam}

LEARNING_RATES = {"muon": 1e-3, "adam": 3e-4}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """What the trainings of both stages have in common.

    Args:
        steps: Training steps in all.
        batch_size: Images in a batch.
        optimizer: `"muon"`, or `"adam"` as in the paper.
        learning_rate: Peak learning rate, or None for `LEARNING_RATES`.
        warmup_steps: Steps of linear rise of the learning rate.
        decay_steps: Steps of linear fall to zero at the end.
        gradient_accumulation_steps: Parts in which each device goes through
            its share of a batch, to save memory.
        clip_norm: Norm to which the gradient of all weights is clipped.
        seed: Seeds the order of images, crops and flips.
        steps_per_epoch: Steps between validations and logs.
        checkpoint_minutes: Minutes between checkpoints.
        resume: Whether to go on from the checkpoint in the output folder.
        verbose: As for `fit`.
    """

    steps: int = 250_000
    batch_size: int = 128
    optimizer: str = "muon"
    learning_rate: float | None = None
    warmup_steps: int = 100
    decay_steps: int = 0
    clip_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    seed: int = 0
    steps_per_epoch: int = 500
    checkpoint_minutes: float = 5.0
    resume: bool = False
    verbose: int | str = "auto"

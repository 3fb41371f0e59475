import dataclasses

import keras

from keras_vqvae2.training import Muon

OPTIMIZERS = {"muon": Muon, "adam": keras.optimizers.Adam}
LEARNING_RATES = {"muon": 1e-3, "adam": 3e-4}


@dataclasses.dataclass(frozen=True)
class TrainingOptions:
    """Training options of both stages.

    The command line has an option for each of them, with this help.

    Args:
        steps: Total number of training steps.
        batch_size: Number of images in a batch, over all devices.
        optimizer: Optimizer; the paper has adam.
        learning_rate: Peak learning rate (default: 1e-3 for muon, 3e-4 for
            adam).
        warmup_steps: Steps in which the learning rate rises linearly.
        decay_steps: Steps at the end in which the learning rate falls linearly
            to zero.
        clip_norm: Global norm to which gradients are clipped.
        gradient_accumulation_steps: Parts into which each device splits its
            batch, to save memory.
        seed: Seed of the order of images, random crops and flips.
        steps_per_epoch: Steps between validations and log entries.
        checkpoint_minutes: Minutes between checkpoints.
        resume: Resume from the checkpoint in the output folder.
        verbose: As for `fit`.

    Example:

    ```python
    options = keras_vqvae2.recipes.TrainingOptions(steps=3000, batch_size=64)
    assert options.optimizer == "muon"
    ```
    """

    steps: int = 250_000
    batch_size: int = 128
    optimizer: str = dataclasses.field(
        default="muon", metadata={"choices": tuple(OPTIMIZERS)}
    )
    learning_rate: float | None = None
    warmup_steps: int = dataclasses.field(default=100, metadata={"minimum": 0})
    decay_steps: int = dataclasses.field(default=0, metadata={"minimum": 0})
    clip_norm: float = 1.0
    gradient_accumulation_steps: int = 1
    seed: int = dataclasses.field(default=0, metadata={"minimum": 0})
    steps_per_epoch: int = 500
    checkpoint_minutes: float = 5.0
    resume: bool = False
    verbose: int | str = "auto"

"""Options of a training, for functions and the command line alike."""

import dataclasses

from keras_vqvae2.arguments import CheckedArguments
from keras_vqvae2.arguments import argument
from keras_vqvae2.arguments import check_schedule
from keras_vqvae2.arguments import integer
from keras_vqvae2.arguments import number
from keras_vqvae2.arguments import share

# By optimizer.
LEARNING_RATES = {"muon": 1e-3, "adam": 3e-4}


@dataclasses.dataclass(frozen=True)
class TrainingOptions(CheckedArguments):
    """Training options of both stages.

    The command line has an option for each of them, with this help.

    Args:
        steps: Total number of training steps.
        batch_size: Number of images in a batch, over all devices.
        optimizer: Optimizer; the paper has adam.
        learning_rate: Peak learning rate (default: 1e-3 for muon, 3e-4 for
            adam).
        warmup_steps: Steps in which the learning rate rises linearly (default:
            100, or half of the steps before the decay if these are fewer).
        decay_steps: Steps at the end in which the learning rate falls linearly
            to zero.
        clip_norm: Global norm to which gradients are clipped.
        ema_momentum: Momentum of a moving average of the weights, which is
            validated and saved instead of them (default: no average). Of
            stage 1, at most the decay of the codebooks.
        gradient_accumulation_steps: Parts into which each device splits its
            batch, to save memory.
        seed: Seed of the order of images, random crops and flips.
        steps_per_epoch: Steps between validations and log entries.
        checkpoint_minutes: Minutes between checkpoints.
        resume: Resume from the checkpoint in the output folder.
        verbose: As for `fit`.

    Raises:
        ValueError: If an option is out of range, or warm-up and decay do not
            fit into `steps`.

    Example:

    ```python
    options = keras_vqvae2.recipes.TrainingOptions(steps=3000, batch_size=64)
    assert options.optimizer == "muon"
    ```
    """

    steps: int = integer(1, 2**53, 250_000)
    batch_size: int = integer(1, 2**31 - 1, 128)
    optimizer: str = argument(
        lambda value: value in tuple(LEARNING_RATES),
        f"one of {', '.join(LEARNING_RATES)}",
        "muon",
        choices=tuple(LEARNING_RATES),
    )
    learning_rate: float | None = number(
        0, 1e3, None, above=True, optional=True
    )
    warmup_steps: int | None = integer(0, 2**53, None, optional=True)
    decay_steps: int = integer(0, 2**53, 0)
    clip_norm: float | None = number(0, 1e9, 1.0, above=True, optional=True)
    ema_momentum: float | None = share(None, optional=True)
    gradient_accumulation_steps: int = integer(1, 2**31 - 1, 1)
    seed: int = integer(0, 2**31 - 1, 0)
    steps_per_epoch: int = integer(1, 2**53, 500)
    checkpoint_minutes: float = number(0, 1e6, 5.0)
    resume: bool = argument(
        lambda value: isinstance(value, bool), "True or False", False
    )
    verbose: int | str = argument(
        lambda value: value in ("auto", 0, 1, 2), "'auto', 0, 1 or 2", "auto"
    )

    def __post_init__(self):
        super().__post_init__()
        if self.warmup_steps is None:
            steps = max(self.steps - self.decay_steps, 0)
            object.__setattr__(self, "warmup_steps", min(100, steps // 2))
        check_schedule(self.steps, self.warmup_steps, self.decay_steps)

import keras
from keras import ops

from keras_vqvae2.arguments import check_number
from keras_vqvae2.arguments import check_schedule


@keras.saving.register_keras_serializable("keras_vqvae2")
class WarmupStableDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Learning rate that rises, stays, and falls to zero at the end.

    The length of the stable part need not be known in advance: a run can be
    prolonged from a checkpoint of it, and decayed when time is up.

    Args:
        learning_rate: Peak learning rate.
        steps: Steps in all.
        warmup_steps: Steps of the linear rise at the start.
        decay_steps: Steps of the linear fall at the end.

    Raises:
        ValueError: If the rate is not a finite number, or rise and fall do
            not fit into `steps`.

    Example:

    ```python
    schedule = keras_vqvae2.training.WarmupStableDecay(
        1e-3, steps=100, warmup_steps=10, decay_steps=20
    )
    assert abs(float(schedule(50)) - 1e-3) < 1e-9
    assert abs(float(schedule(90)) - 5e-4) < 1e-9
    ```
    """

    def __init__(self, learning_rate, steps, warmup_steps=0, decay_steps=0):
        super().__init__()
        check_number("learning_rate", learning_rate, 0)
        check_schedule(steps, warmup_steps, decay_steps)
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps
        self.decay_steps = decay_steps

    def __call__(self, step):
        step = ops.cast(step, "float32")
        rise = (step + 1) / max(self.warmup_steps, 1)
        fall = (self.steps - step) / max(self.decay_steps, 1)
        share = ops.clip(ops.minimum(rise, fall), 0.0, 1.0)
        return self.learning_rate * share

    def get_config(self):
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
        }

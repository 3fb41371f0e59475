import re

import keras
from keras import ops

from keras_vqvae2.arguments import check_number


@keras.saving.register_keras_serializable("keras_vqvae2")
class Muon(keras.optimizers.Muon):
    """Muon for convolutions: kernels step along orthogonal matrices.

    Keras' own leaves every kernel that is not a matrix to Adam. This one
    flattens a kernel `(*window, a, b)` to the matrix `(prod(window) * a, b)`,
    as the original implementation does; biases and other vectors go to Adam.
    Weight decay is off, and the Newton-Schulz iteration runs in bfloat16.

    The same update size suits every network: the root mean square of a
    kernel's step is `0.2 * learning_rate`.

    Args:
        learning_rate: Learning rate of the kernels, or a schedule.
        adam_lr_ratio: Learning rate of the other weights, as a share of it.
        weight_decay: Weight decay of the kernels, or None.
        adam_weight_decay: Weight decay of the other weights, or None.
        **kwargs: As for `keras.optimizers.Muon`.

    Source: K. Jordan, "Muon" (2024), https://kellerjordan.github.io/posts/muon;
    size of the step: Liu et al. 2025, section 2.2,
    https://arxiv.org/abs/2502.16982

    Example:

    ```python
    model = keras_vqvae2.HierarchicalVQVAE()
    model.compile(keras_vqvae2.training.Muon(1e-3, global_clipnorm=1.0))
    ```
    """

    _newton_schulz_dtype = "bfloat16"

    def __init__(
        self,
        learning_rate=0.001,
        adam_lr_ratio=0.5,
        weight_decay=None,
        adam_weight_decay=None,
        **kwargs,
    ):
        check_number("adam_lr_ratio", adam_lr_ratio, 0)
        super().__init__(
            learning_rate=learning_rate,
            adam_lr_ratio=adam_lr_ratio,
            weight_decay=weight_decay,
            adam_weight_decay=adam_weight_decay,
            **kwargs,
        )

    def _should_use_adamw(self, variable):
        names = list(self.exclude_layers)
        if self.exclude_embeddings:
            names.append("embedding")
        return len(variable.shape) < 2 or any(
            re.search(name, variable.path) for name in names
        )

    def _muon_update_step(self, gradient, variable, lr, m):
        self.assign_add(m, gradient - (1.0 - self.momentum) * m)
        step = gradient + self.momentum * m if self.nesterov else m
        step = ops.reshape(step, (-1, variable.shape[-1]))
        step = self.zeropower_via_newtonschulz5(
            ops.cast(step, self._newton_schulz_dtype), self.ns_steps
        )
        step = self.lr_adjust(lr * ops.cast(step, variable.dtype))
        self.assign_sub(variable, ops.reshape(step, variable.shape))

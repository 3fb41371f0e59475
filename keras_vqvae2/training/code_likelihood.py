import math

import keras
from keras import ops

from keras_vqvae2.training.built_in_loss import BuiltInLoss


class CodeLikelihood(BuiltInLoss):
    """Loss and metrics of a prior: how unlikely it finds the codes."""

    def _add_metrics(self):
        """Makes the metrics."""
        self.loss_metric = keras.metrics.Mean(name="loss")
        self.bits_metric = keras.metrics.Mean(name="bits_per_dim")
        self.skipped_steps = keras.metrics.Sum(name="skipped_steps")

    @property
    def metrics(self):
        return [self.loss_metric, self.bits_metric, self.skipped_steps]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Negative log-likelihood over a batch; updates the metrics.

        Args:
            x: Dict of `"codes"`, integer maps, coarse to fine; the last one
                is the prior's own.
            y: Not used.
            y_pred: Logits of the last map's codes.
            sample_weight: Not used.
            training: Not used.

        Returns:
            Scalar of the logits' type, nats per code.
        """
        codes = x["codes"][-1]
        loss = ops.mean(
            keras.losses.sparse_categorical_crossentropy(
                codes, y_pred, from_logits=True
            )
        )
        finite = ops.isfinite(loss)
        weight = ops.where(
            finite, ops.cast(ops.shape(codes)[0], "float32"), 0.0
        )
        value = ops.where(finite, ops.stop_gradient(loss), 0.0)
        self.loss_metric.update_state(value, sample_weight=weight)
        self.bits_metric.update_state(value / math.log(2), sample_weight=weight)
        return loss

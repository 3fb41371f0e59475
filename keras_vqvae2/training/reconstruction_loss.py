import keras
from keras import ops

from keras_vqvae2.backend.step_record import current_record
from keras_vqvae2.training.built_in_loss import BuiltInLoss
from keras_vqvae2.training.codebook_perplexity import CodebookPerplexity
from keras_vqvae2.training.codebook_usage import CodebookUsage


class ReconstructionLoss(BuiltInLoss):
    """Loss and metrics of an autoencoder: equation 2 of arXiv 1906.00446."""

    def _add_metrics(self, num_embeddings, level_names):
        """Makes the metrics, for codebooks of these sizes and levels."""
        self.loss_metric = keras.metrics.Mean(name="loss")
        self.mse_metric = keras.metrics.Mean(name="mse")
        self.psnr_metric = keras.metrics.Mean(name="psnr")
        self.skipped_steps = keras.metrics.Sum(name="skipped_steps")
        self.usage_metrics = [
            CodebookUsage(num_embeddings, name=f"usage_{name}")
            for name in level_names
        ]
        self.perplexity_metrics = [
            CodebookPerplexity(num_embeddings, name=f"perplexity_{name}")
            for name in level_names
        ]

    @property
    def metrics(self):
        return [
            self.loss_metric,
            self.mse_metric,
            self.psnr_metric,
            *self.usage_metrics,
            *self.perplexity_metrics,
            self.skipped_steps,
        ]

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        """Equation 2 over a batch; updates the metrics.

        Args:
            x: Images, pixel values 0..255.
            y: Not used.
            y_pred: Tuple of the reconstructions, pixel values nominally in
                0..255, and the codes, coarse to fine.
            sample_weight: Not used.
            training: Not used.

        Returns:
            Float32 scalar, in units of images scaled to [-1, 1].
        """
        reconstructions, codes = y_pred
        images = ops.cast(x, "float32")
        error = (reconstructions - images) / 127.5
        mse = ops.mean(ops.square(error))
        record = current_record()
        # Outside of a step, Keras's own record of `add_loss`.
        losses = self.losses if record is None else record.losses.values()
        loss = mse
        for quantizer_loss in losses:
            loss = loss + quantizer_loss

        clipped = ops.clip(reconstructions, 0.0, 255.0)
        image_mse = ops.mean(ops.square(clipped - images), axis=(1, 2, 3))
        psnr = 10 * ops.log10(255.0**2 / ops.maximum(image_mse, 1e-10))  # (B,)
        # A step that is skipped must not leave a NaN in the epoch's means.
        finite = ops.isfinite(loss)
        weight = ops.where(finite, ops.cast(ops.shape(x)[0], "float32"), 0.0)
        for metric, value in (
            (self.loss_metric, loss),
            (self.mse_metric, mse),
            (self.psnr_metric, ops.mean(psnr)),
        ):
            value = ops.where(finite, ops.stop_gradient(value), 0.0)
            metric.update_state(value, sample_weight=weight)
        for usage, perplexity, level_codes in zip(
            self.usage_metrics, self.perplexity_metrics, codes, strict=True
        ):
            for metric in (usage, perplexity):
                metric.update_state(
                    level_codes, sample_weight=ops.where(finite, 1.0, 0.0)
                )
        return loss

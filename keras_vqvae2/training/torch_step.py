import keras
import torch

from keras_vqvae2.backend.step_record import StepRecord
from keras_vqvae2.training._parts import quantizers_of
from keras_vqvae2.training._parts import recorded_part
from keras_vqvae2.training._parts import shared_generators
from keras_vqvae2.training._parts import take_part


class TorchStep:
    """`train_step` and `test_step` of a model on the PyTorch backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, data):
        weights = self.trainable_weights
        self.zero_grad()
        statistics = self._accumulate(data)
        gradients = [weight.value.grad for weight in weights]
        finite = all(
            torch.isfinite(g).all() for g in gradients if g is not None
        )
        with torch.no_grad():
            if finite:
                for quantizer in quantizers_of(self):
                    quantizer.update_codebook(statistics[quantizer.name])
            # A loss-scaling optimizer skips such steps itself.
            if finite or isinstance(
                self.optimizer, keras.optimizers.LossScaleOptimizer
            ):
                self.optimizer.apply(gradients, weights)
        self.skipped_steps.update_state(0.0 if finite else 1.0)
        return self.get_metrics_result()

    def _accumulate(self, data):
        """Adds to the gradients; returns the quantizers' statistics."""
        count = self.gradient_accumulation_steps
        generators = shared_generators(self)
        seeds = [generator.next() for generator in generators]
        sums = {}
        for index in range(count):
            part = take_part(data, index, count)
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
            with recorded_part(generators, seeds, index, count) as record:
                y_pred = self(x, training=True)
                loss = self.compute_loss(
                    x, y, y_pred, sample_weight, training=True
                )
            (self.optimizer.scale_loss(loss) / count).backward()
            for name, values in record.statistics.items():
                values = [value.detach() for value in values]
                before = sums.get(name, [0.0] * len(values))
                sums[name] = [
                    a + b for a, b in zip(before, values, strict=True)
                ]
        return sums

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with torch.no_grad(), StepRecord().scope():
            y_pred = self(x, training=False)
            self.compute_loss(x, y, y_pred, sample_weight, training=False)
        return self.get_metrics_result()

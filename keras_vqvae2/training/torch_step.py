import keras
import torch

from keras_vqvae2.backend.rematerialize import given_seeds
from keras_vqvae2.backend.step_record import Microbatch
from keras_vqvae2.training._accumulation import quantizers_of
from keras_vqvae2.training._accumulation import shared_generators
from keras_vqvae2.training._accumulation import split_batch
from keras_vqvae2.training._accumulation import take_part


class TorchStep:
    """`train_step` and `test_step` of a model on the PyTorch backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, data):
        state = self.non_trainable_weights
        old_state = [variable.value.detach().clone() for variable in state]
        self.zero_grad()
        if self.gradient_accumulation_steps == 1:
            self._backward(data)
        else:
            self._accumulate(data)
        weights = self.trainable_weights
        gradients = [weight.value.grad for weight in weights]
        finite = all(
            torch.isfinite(g).all() for g in gradients if g is not None
        )
        with torch.no_grad():
            # A loss-scaling optimizer skips such steps itself.
            if finite or isinstance(
                self.optimizer, keras.optimizers.LossScaleOptimizer
            ):
                self.optimizer.apply(gradients, weights)
            if not finite:
                for variable, old in zip(state, old_state, strict=True):
                    variable.assign(old)
        self.skipped_steps.update_state(0.0 if finite else 1.0)
        return self.get_metrics_result()

    def _backward(self, data, weight=1.0):
        """Adds to the gradients; the codebooks learn and metrics count."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=True)
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
        (weight * self.optimizer.scale_loss(loss)).backward()

    def _accumulate(self, data):
        """As `_backward`, with the memory of a part of the batch."""
        count = self.gradient_accumulation_steps
        parts = split_batch(data, count)
        quantizers = quantizers_of(self)
        generators = shared_generators(self)
        seeds = [generator.next() for generator in generators]
        sums = {}
        for index in range(count):
            microbatch = Microbatch(index, count)
            with microbatch.scope(), given_seeds(generators, seeds):
                self._backward(take_part(parts, index), 1 / count)
            for name, values in microbatch.statistics.items():
                values = [value.detach() for value in values]
                if name in sums:
                    values = [
                        a + b for a, b in zip(sums[name], values, strict=True)
                    ]
                sums[name] = values
        with torch.no_grad():
            for quantizer in quantizers:
                quantizer.learn(sums[quantizer.name])

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with torch.no_grad():
            y_pred = self(x, training=False)
            self.compute_loss(x, y, y_pred, sample_weight, training=False)
        return self.get_metrics_result()

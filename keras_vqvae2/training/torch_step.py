import keras
import torch


class TorchStep:
    """`train_step` and `test_step` of a model on the PyTorch backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        state = self.non_trainable_weights
        old_state = [variable.value.detach().clone() for variable in state]
        y_pred = self(x, training=True)
        self.zero_grad()
        loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
        self.optimizer.scale_loss(loss).backward()
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

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with torch.no_grad():
            y_pred = self(x, training=False)
            self.compute_loss(x, y, y_pred, sample_weight, training=False)
        return self.get_metrics_result()

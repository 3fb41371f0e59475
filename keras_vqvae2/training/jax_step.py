import jax
import jax.numpy as jnp
import keras


class JAXStep:
    """`train_step` and `test_step` of a model on the JAX backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, state, data):
        weights, other_weights, optimizer_state, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        gradient = jax.value_and_grad(
            self.compute_loss_and_updates, has_aux=True
        )
        (_, (_, _, new_other_weights, metrics)), gradients = gradient(
            weights,
            other_weights,
            metrics,
            x,
            y,
            sample_weight,
            training=True,
            optimizer_variables=optimizer_state,
        )
        finite = jnp.array(True)
        for leaf in jax.tree.leaves(gradients):
            finite &= jnp.all(jnp.isfinite(leaf))

        def if_finite(new, old):
            return [
                jnp.where(finite, n, o) for n, o in zip(new, old, strict=True)
            ]

        new_weights, new_optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, gradients, weights
        )
        if not isinstance(
            self.optimizer, keras.optimizers.LossScaleOptimizer
        ):  # That one skips such steps itself, and lowers its scale.
            new_weights = if_finite(new_weights, weights)
            new_optimizer_state = if_finite(
                new_optimizer_state, optimizer_state
            )
        logs, metrics = self._logs(metrics, jnp.where(finite, 0.0, 1.0))
        state = (
            new_weights,
            if_finite(new_other_weights, other_weights),
            new_optimizer_state,
            metrics,
        )
        return logs, state

    def test_step(self, state, data):
        weights, other_weights, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _, (_, _, other_weights, metrics) = self.compute_loss_and_updates(
            weights, other_weights, metrics, x, y, sample_weight, training=False
        )
        logs, metrics = self._logs(metrics, 0.0)
        return logs, (weights, other_weights, metrics)

    def _logs(self, metrics, skipped):
        variables = self.metrics_variables
        mapping = list(zip(variables, metrics, strict=True))
        with keras.StatelessScope(state_mapping=mapping) as scope:
            self.skipped_steps.update_state(skipped)
            logs = self.get_metrics_result()
        current = [scope.get_current_value(variable) for variable in variables]
        return logs, current

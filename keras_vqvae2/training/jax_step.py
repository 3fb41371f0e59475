import jax
import jax.numpy as jnp
import keras

from keras_vqvae2.backend.step_record import StepRecord
from keras_vqvae2.training._parts import quantizers_of
from keras_vqvae2.training._parts import recorded_part
from keras_vqvae2.training._parts import shared_generators
from keras_vqvae2.training._parts import take_part


class JAXStep:
    """`train_step` and `test_step` of a model on the JAX backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, state, data):
        weights, other_weights, optimizer_state, metrics = state
        (gradients, statistics), other_weights, metrics = self._accumulated(
            weights, other_weights, optimizer_state, metrics, data
        )
        finite = jnp.array(True)
        for leaf in jax.tree.leaves(gradients):
            finite &= jnp.all(jnp.isfinite(leaf))
        other_weights = self._update_codebooks(
            weights, other_weights, statistics, finite
        )

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
        return logs, (new_weights, other_weights, new_optimizer_state, metrics)

    def _accumulated(
        self, weights, other_weights, optimizer_state, metrics, data
    ):
        """Gradients and the quantizers' statistics, in the memory of a part.

        Returns:
            `((gradients, statistics), other_weights, metrics)`; of the other
            weights, only the seeds have changed.
        """
        count = self.gradient_accumulation_steps
        variables = self.non_trainable_variables
        generators = shared_generators(self)
        with _stateless_scope(variables, other_weights) as scope:
            seeds = [generator.next() for generator in generators]
        other_weights = [scope.get_current_value(v) for v in variables]

        def loss(weights, other_weights, metrics, index):
            part = take_part(data, index, count)
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
            with recorded_part(generators, seeds, index, count) as record:
                value, (_, _, other_weights, metrics) = (
                    self.compute_loss_and_updates(
                        weights,
                        other_weights,
                        metrics,
                        x,
                        y,
                        sample_weight,
                        training=True,
                        optimizer_variables=optimizer_state,
                    )
                )
            return value / count, (record.statistics, other_weights, metrics)

        def gradients_of_part(index, other_weights, metrics):
            gradients, (statistics, other_weights, metrics) = jax.grad(
                loss, has_aux=True
            )(weights, other_weights, metrics, index)
            return (gradients, statistics), other_weights, metrics

        if count == 1:
            return gradients_of_part(0, other_weights, metrics)

        def add_part(carry, index):
            sums, other_weights, metrics = carry
            values, other_weights, metrics = gradients_of_part(
                index, other_weights, metrics
            )
            sums = jax.tree.map(jnp.add, sums, values)
            return (sums, other_weights, metrics), None

        shapes = {q.name: q.statistics_shapes for q in quantizers_of(self)}
        zeros = (
            jax.tree.map(jnp.zeros_like, weights),
            {name: [jnp.zeros(s) for s in shapes[name]] for name in shapes},
        )
        carry = (zeros, other_weights, metrics)
        carry, _ = jax.lax.scan(add_part, carry, jnp.arange(count))
        return carry

    def _update_codebooks(self, weights, other_weights, statistics, finite):
        """The other weights, with what the quantizers make of a step."""
        variables = self.trainable_variables + self.non_trainable_variables
        values = [*weights, *other_weights]
        with _stateless_scope(variables, values) as scope:
            for quantizer in quantizers_of(self):
                quantizer.update_codebook(statistics[quantizer.name], finite)
        return [
            scope.get_current_value(v) for v in self.non_trainable_variables
        ]

    def test_step(self, state, data):
        weights, other_weights, metrics = state
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with StepRecord().scope():
            _, (_, _, other_weights, metrics) = self.compute_loss_and_updates(
                weights,
                other_weights,
                metrics,
                x,
                y,
                sample_weight,
                training=False,
            )
        logs, metrics = self._logs(metrics, 0.0)
        return logs, (weights, other_weights, metrics)

    def _logs(self, metrics, skipped):
        variables = self.metrics_variables
        with _stateless_scope(variables, metrics) as scope:
            self.skipped_steps.update_state(skipped)
            logs = self.get_metrics_result()
        return logs, [scope.get_current_value(v) for v in variables]


def _stateless_scope(variables, values):
    mapping = list(zip(variables, values, strict=True))
    return keras.StatelessScope(state_mapping=mapping)

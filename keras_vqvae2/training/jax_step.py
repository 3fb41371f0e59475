import jax
import jax.numpy as jnp
import keras

from keras_vqvae2.backend.rematerialize import given_seeds
from keras_vqvae2.backend.step_record import Microbatch
from keras_vqvae2.training._accumulation import quantizers_of
from keras_vqvae2.training._accumulation import shared_generators
from keras_vqvae2.training._accumulation import split_batch
from keras_vqvae2.training._accumulation import take_part


class JAXStep:
    """`train_step` and `test_step` of a model on the JAX backend.

    The loss is `compute_loss`, which also updates the metrics.
    """

    def train_step(self, state, data):
        weights, other_weights, optimizer_state, metrics = state
        function = self._gradients
        if self.gradient_accumulation_steps > 1:
            function = self._accumulated_gradients
        gradients, new_other_weights, metrics = function(
            weights, other_weights, metrics, data, optimizer_state
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

    def _gradients(
        self, weights, other_weights, metrics, data, optimizer_state
    ):
        """Gradients, and the values of the codebooks and metrics after it."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        gradient = jax.grad(self.compute_loss_and_updates, has_aux=True)
        gradients, (_, _, other_weights, metrics) = gradient(
            weights,
            other_weights,
            metrics,
            x,
            y,
            sample_weight,
            training=True,
            optimizer_variables=optimizer_state,
        )
        return gradients, other_weights, metrics

    def _accumulated_gradients(
        self, weights, other_weights, metrics, data, optimizer_state
    ):
        """As `_gradients`, with the memory of a part of the batch."""
        count = self.gradient_accumulation_steps
        parts = split_batch(data, count)
        quantizers = quantizers_of(self)
        generators = shared_generators(self)
        variables = self.non_trainable_variables
        with keras.StatelessScope(
            state_mapping=list(zip(variables, other_weights, strict=True))
        ) as scope:
            seeds = [generator.next() for generator in generators]
        other_weights = [scope.get_current_value(v) for v in variables]

        def loss(weights, other_weights, metrics, part, index):
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
            microbatch = Microbatch(index, count)
            with microbatch.scope(), given_seeds(generators, seeds):
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
            return value, (other_weights, metrics, microbatch.statistics)

        def add_part(carry, index):
            gradients, statistics, other_weights, metrics = carry
            part = take_part(parts, index)
            new_gradients, (other_weights, metrics, new_statistics) = jax.grad(
                loss, has_aux=True
            )(weights, other_weights, metrics, part, index)
            gradients = jax.tree.map(
                lambda a, b: a + b / count, gradients, new_gradients
            )
            statistics = jax.tree.map(jnp.add, statistics, new_statistics)
            return (gradients, statistics, other_weights, metrics), None

        zeros = jax.tree.map(jnp.zeros_like, weights)
        statistics = {
            quantizer.name: [
                jnp.zeros(shape) for shape in quantizer.statistics_shapes
            ]
            for quantizer in quantizers
        }
        carry = (zeros, statistics, other_weights, metrics)
        carry, _ = jax.lax.scan(add_part, carry, jnp.arange(count))
        gradients, statistics, other_weights, metrics = carry

        mapping = [
            *zip(self.trainable_variables, weights, strict=True),
            *zip(variables, other_weights, strict=True),
        ]
        with keras.StatelessScope(state_mapping=mapping) as scope:
            for quantizer in quantizers:
                quantizer.learn(statistics[quantizer.name])
        other_weights = [scope.get_current_value(v) for v in variables]
        return gradients, other_weights, metrics

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

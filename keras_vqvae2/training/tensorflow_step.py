import keras
import tensorflow as tf

from keras_vqvae2.layers._microbatch import Microbatch
from keras_vqvae2.layers._rematerialize import given_seeds
from keras_vqvae2.training._accumulation import quantizers_of
from keras_vqvae2.training._accumulation import shared_generators
from keras_vqvae2.training._accumulation import split_batch
from keras_vqvae2.training._accumulation import take_part


class TensorFlowStep:
    """`train_step` and `test_step` of a model on the TensorFlow backend.

    The loss is `compute_loss`, which also updates the metrics. Under
    `tf.distribute` the loss is divided by the number of replicas, since
    Keras's optimizers sum the gradients over them.
    """

    def train_step(self, data):
        state = self.non_trainable_weights
        old_state = [tf.identity(variable.value) for variable in state]
        if self.gradient_accumulation_steps == 1:
            gradients = self._gradients(data)
        else:
            gradients = self._accumulated_gradients(data)
        context = tf.distribute.get_replica_context()
        weights = self.trainable_weights
        bad = tf.add_n(
            [
                tf.reduce_sum(tf.cast(~tf.math.is_finite(g), tf.float32))
                for g in gradients
                if g is not None
            ]
        )
        if context.num_replicas_in_sync > 1:
            bad = context.all_reduce("SUM", bad)
        finite = tf.equal(bad, 0.0)
        self._apply_if(finite, gradients, weights)
        for variable, old in zip(state, old_state, strict=True):
            variable.assign(tf.where(finite, variable.value, old))
        self.skipped_steps.update_state(
            tf.where(finite, 0.0, 1.0 / context.num_replicas_in_sync)
        )
        return self._logs()

    def _gradients(self, data, **options):
        """Gradients of the weights; the codebooks learn and metrics count."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            scaled_loss = self.optimizer.scale_loss(loss)
            context = tf.distribute.get_replica_context()
            scaled_loss /= context.num_replicas_in_sync
        return tape.gradient(scaled_loss, self.trainable_weights, **options)

    def _accumulated_gradients(self, data):
        """As `_gradients`, with the memory of a part of the batch.

        The loop holds nothing that needs other replicas: `tf.distribute`
        allows that outside of loops only.
        """
        count = self.gradient_accumulation_steps
        parts = split_batch(data, count)
        quantizers = quantizers_of(self)
        generators = shared_generators(self)
        seeds = [generator.next() for generator in generators]

        def add_part(index, *sums):
            microbatch = Microbatch(index, count)
            with microbatch.scope(), given_seeds(generators, seeds):
                gradients = self._gradients(
                    take_part(parts, index), unconnected_gradients="zero"
                )
            values = [tf.convert_to_tensor(g) / count for g in gradients]
            for quantizer in quantizers:
                values += microbatch.statistics[quantizer.name]
            return index + 1, *(
                a + b for a, b in zip(sums, values, strict=True)
            )

        shapes = [weight.shape for weight in self.trainable_weights]
        for quantizer in quantizers:
            shapes += quantizer.statistics_shapes
        _, *sums = tf.while_loop(
            lambda index, *_: index < count,
            add_part,
            (0, *(tf.zeros(shape) for shape in shapes)),
            parallel_iterations=1,
            maximum_iterations=count,
        )
        sums = iter(sums)
        gradients = [next(sums) for _ in self.trainable_weights]
        for quantizer in quantizers:
            quantizer.learn([next(sums) for _ in quantizer.statistics_shapes])
        return gradients

    def _apply_if(self, finite, gradients, weights):
        optimizer = self.optimizer
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # It skips such steps itself, and lowers its scale.
            optimizer.apply(gradients, weights)
            return
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync == 1:
            tf.cond(
                finite,
                lambda: optimizer.apply(gradients, weights),
                lambda: None,
            )
            return

        # An optimizer may not be called inside a condition in a replica, only
        # in the context across them.
        def apply(strategy, finite, gradients):
            tf.cond(
                strategy.experimental_local_results(finite)[0],
                lambda: strategy.extended.call_for_each_replica(
                    optimizer.apply, args=(gradients, weights)
                ),
                lambda: None,
            )

        context.merge_call(apply, args=(finite, gradients))

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        self.compute_loss(x, y, y_pred, sample_weight, training=False)
        return self._logs()

    def _logs(self):
        return self.get_metrics_result()

import contextlib

import keras
import tensorflow as tf

from keras_vqvae2.backend.rematerialize import given_seeds
from keras_vqvae2.backend.step_record import Microbatch
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
        gradients = _sum_over_replicas(gradients)
        weights = self.trainable_weights
        finite = tf.reduce_all(
            [
                tf.reduce_all(tf.math.is_finite(g))
                for g in gradients
                if g is not None
            ]
        )
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

        def apply(apply_all):
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
                apply_all()  # It skips such steps itself, and lowers its scale.
            else:
                tf.cond(finite, apply_all, lambda: None)

        if not tf.distribute.has_strategy():
            apply(lambda: optimizer.apply(gradients, weights))
            return

        # An optimizer may not be called inside a condition in a replica, only
        # in the context across them.
        def apply_across(strategy, per_replica_finite, gradients):
            nonlocal finite
            finite = strategy.experimental_local_results(per_replica_finite)[0]
            with _without_sum(optimizer):
                apply(
                    lambda: strategy.extended.call_for_each_replica(
                        optimizer.apply, args=(gradients, weights)
                    )
                )

        tf.distribute.get_replica_context().merge_call(
            apply_across, args=(finite, gradients)
        )

    def test_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        y_pred = self(x, training=False)
        self.compute_loss(x, y, y_pred, sample_weight, training=False)
        return self._logs()

    def _logs(self):
        logs = self.get_metrics_result()
        # Keras takes the mean of the workers' logs along an axis.
        if isinstance(
            tf.distribute.get_strategy(),
            tf.distribute.MultiWorkerMirroredStrategy,
        ):
            logs = {k: tf.reshape(v, (1,)) for k, v in logs.items()}
        return logs

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        # The models build themselves, metrics included. Keras would call them
        # with a batch, and cannot where the batch is a dict of several
        # workers.
        if self._distribute_strategy is not None and self.optimizer is not None:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def _sum_over_replicas(gradients):
    """Gradients of the whole batch, as dense tensors or None.

    Keras's optimizers sum them too, but only after they clipped each
    replica's by itself.
    """
    places = [i for i, g in enumerate(gradients) if g is not None]
    # Those of embeddings are slices, whose norm is not that of their sum.
    values = [tf.convert_to_tensor(gradients[i]) for i in places]
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync > 1:
        values = context.all_reduce("SUM", values)
    summed = [None] * len(gradients)
    for i, value in zip(places, values, strict=True):
        summed[i] = value
    return summed


@contextlib.contextmanager
def _without_sum(optimizer):
    """Keeps an optimizer from summing the gradients over the replicas."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    optimizer._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients

import contextlib

import keras
import tensorflow as tf

from keras_vqvae2.backend.step_record import StepRecord
from keras_vqvae2.training._parts import quantizers_of
from keras_vqvae2.training._parts import recorded_part
from keras_vqvae2.training._parts import shared_generators
from keras_vqvae2.training._parts import take_part


class TensorFlowStep:
    """`train_step` and `test_step` of a model on the TensorFlow backend.

    The loss is `compute_loss`, which also updates the metrics. Under
    `tf.distribute` the loss is divided by the number of replicas, since
    Keras's optimizers sum the gradients over them.
    """

    def train_step(self, data):
        context = tf.distribute.get_replica_context()
        gradients, statistics = self._accumulated(data)
        gradients = _sum_over_replicas(gradients)
        finite = tf.reduce_all(
            [tf.reduce_all(tf.math.is_finite(g)) for g in gradients]
        )
        for quantizer in quantizers_of(self):
            quantizer.update_codebook(statistics[quantizer.name], finite)
        self._apply_if(finite, gradients, self.trainable_weights)
        self.skipped_steps.update_state(
            tf.where(finite, 0.0, 1.0 / context.num_replicas_in_sync)
        )
        return self._logs()

    def _accumulated(self, data):
        """Gradients and the quantizers' statistics, in the memory of a part.

        The loop holds nothing that needs other replicas: `tf.distribute`
        allows that outside of loops only.
        """
        count = self.gradient_accumulation_steps
        generators = shared_generators(self)
        seeds = [generator.next() for generator in generators]

        def gradients_of_part(index):
            part = take_part(data, index, count)
            x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(part)
            with tf.GradientTape() as tape:
                with recorded_part(generators, seeds, index, count) as record:
                    y_pred = self(x, training=True)
                    loss = self.compute_loss(
                        x, y, y_pred, sample_weight, training=True
                    )
                loss = self.optimizer.scale_loss(loss)
                context = tf.distribute.get_replica_context()
                loss /= count * context.num_replicas_in_sync
            gradients = tape.gradient(
                loss, self.trainable_weights, unconnected_gradients="zero"
            )
            # Those of embeddings are slices, whose norm is not that of their
            # sum.
            gradients = [tf.convert_to_tensor(g) for g in gradients]
            return gradients, record.statistics

        if count == 1:
            return gradients_of_part(0)

        def add_part(index, sums):
            values = gradients_of_part(index)
            return index + 1, tf.nest.map_structure(tf.add, sums, values)

        shapes = {q.name: q.statistics_shapes for q in quantizers_of(self)}
        zeros = (
            [tf.zeros(weight.shape) for weight in self.trainable_weights],
            {name: [tf.zeros(s) for s in shapes[name]] for name in shapes},
        )
        _, sums = tf.while_loop(
            lambda index, _: index < count,
            add_part,
            (0, zeros),
            parallel_iterations=1,
            maximum_iterations=count,
        )
        return sums

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
        with StepRecord().scope():
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
    """Gradients of the whole batch.

    Keras's optimizers sum them too, but only after they clipped each
    replica's by itself.
    """
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return gradients
    return context.all_reduce("SUM", gradients)


@contextlib.contextmanager
def _without_sum(optimizer):
    """Keeps an optimizer from summing the gradients over the replicas.

    The method is private to Keras, as are those that `Muon` overrides: so
    pyproject.toml bounds Keras on both sides. The tests run with its newest
    version, and those of layers, models and `Muon` with the oldest.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    optimizer._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        del optimizer._all_reduce_sum_gradients

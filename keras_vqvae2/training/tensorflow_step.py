import keras
import tensorflow as tf


class TensorFlowStep:
    """`train_step` and `test_step` of a model on the TensorFlow backend.

    The loss is `compute_loss`, which also updates the metrics. Under
    `tf.distribute` the loss is divided by the number of replicas, since
    Keras's optimizers sum the gradients over them.
    """

    def train_step(self, data):
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        state = self.non_trainable_weights
        old_state = [tf.identity(variable.value) for variable in state]
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            scaled_loss = self.optimizer.scale_loss(loss)
            context = tf.distribute.get_replica_context()
            scaled_loss /= context.num_replicas_in_sync
        weights = self.trainable_weights
        gradients = tape.gradient(scaled_loss, weights)
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
        return self.get_metrics_result()

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
        return self.get_metrics_result()

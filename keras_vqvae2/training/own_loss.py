import keras


class OwnLoss:
    """`compile` and `fit` of a model whose loss and metrics are its own."""

    def compile(self, optimizer="adam", **kwargs):
        """Configures training: an optimizer is enough.

        Args:
            optimizer: Keras optimizer, or its name.
            **kwargs: `jit_compile`, `run_eagerly`, `steps_per_execution`,
                `auto_scale_loss`, as for `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given: the model has its own.
        """
        own = {"loss", "loss_weights", "metrics", "weighted_metrics"}
        if given := sorted(own & set(kwargs)):
            raise ValueError(
                f"{type(self).__name__} has its own loss and metrics: leave "
                f"out {', '.join(given)}. `compile(optimizer)` is enough."
            )
        super().compile(optimizer=optimizer, **kwargs)

    def compile_from_config(self, config):
        """Compiles as before `save`, for `keras.models.load_model`."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{k: v for k, v in config.items() if v is not None})
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        """As `keras.Model.fit`."""
        if hasattr(x, "element_spec"):
            # Keras warns of its own default where a tf.data dataset comes in.
            kwargs.setdefault("shuffle", False)
        return super().fit(x, *args, **kwargs)

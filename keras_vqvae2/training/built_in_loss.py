import types

import keras

from keras_vqvae2.arguments import check_integer
from keras_vqvae2.arguments import check_number
from keras_vqvae2.backend.distribution import check_batch_size
from keras_vqvae2.backend.distribution import num_replicas
from keras_vqvae2.backend.distribution import worker
from keras_vqvae2.layers.saved_seeds import SavedSeeds
from keras_vqvae2.training._parts import quantizers_of


class BuiltInLoss(SavedSeeds):
    """`compile` and `fit` of a model whose loss and metrics are its own."""

    gradient_accumulation_steps = 1

    def compile(
        self, optimizer="adam", gradient_accumulation_steps=1, **kwargs
    ):
        """Configures training: an optimizer is enough.

        Args:
            optimizer: Keras optimizer, or its name.
            gradient_accumulation_steps: Parts in which a training step goes
                through its batch, one after the other, in the memory of one
                part. The step is that of the whole batch, codebooks and
                metrics included; an empty codebook is filled at the end of
                the first step instead of before it. The batch of each device
                must be a multiple of this.
            **kwargs: `jit_compile`, `run_eagerly`, `steps_per_execution`,
                `auto_scale_loss`, as for `keras.Model.compile`.

        Raises:
            ValueError: If a loss or metrics are given, since the model has its
                own, or an argument, the optimizer's learning rate, its
                clipping or its moving average does not fit.
        """
        own = {"loss", "loss_weights", "metrics", "weighted_metrics"}
        if given := sorted(own & set(kwargs)):
            raise ValueError(
                f"{type(self).__name__} has its own loss and metrics: leave "
                f"out {', '.join(given)}. `compile(optimizer)` is enough."
            )
        steps = check_integer(
            "gradient_accumulation_steps", gradient_accumulation_steps
        )
        optimizer = keras.optimizers.get(optimizer)
        if optimizer.gradient_accumulation_steps:
            raise ValueError(
                "The optimizer's own `gradient_accumulation_steps` would move "
                "the codebooks more often than the other weights. Pass it to "
                "`compile` instead: compile(optimizer, "
                f"gradient_accumulation_steps="
                f"{optimizer.gradient_accumulation_steps})."
            )
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        _check_numbers(inner)
        if inner.use_ema:
            self._check_average(inner.ema_momentum)
        self.gradient_accumulation_steps = steps
        super().compile(optimizer=optimizer, **kwargs)

    def get_compile_config(self):
        """What `compile_from_config` takes."""
        config = super().get_compile_config()
        return {
            **config,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }

    def _check_average(self, momentum):
        """Raises where codebooks would not fit an average of the weights."""
        for quantizer in quantizers_of(self):
            decay = getattr(quantizer, "decay", 1.0)
            if momentum > decay:
                raise ValueError(
                    "`ema_momentum` must be at most the codebooks' own decay, "
                    f"{decay:g}: they follow the last weights, and would not "
                    f"fit an average over more steps. Received: {momentum:g}. "
                    "(Codebooks that learn by gradients, `decay=None`, are "
                    "averaged with the others.)"
                )

    def compile_from_config(self, config):
        """Compiles as before `save`, for `keras.models.load_model`."""
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{k: v for k, v in config.items() if v is not None})
        self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, **kwargs):
        """As `keras.Model.fit`.

        Raises:
            ValueError: If the devices cannot share a batch evenly.
        """
        self._check_batches(x, *args, **kwargs)
        if hasattr(x, "element_spec") or isinstance(x, types.GeneratorType):
            # Keras warns of its own default where such data comes in.
            kwargs.setdefault("shuffle", False)
        return super().fit(x, *args, **kwargs)

    def _check_batches(self, x, y=None, batch_size=None, **kwargs):
        first = keras.tree.flatten(getattr(x, "element_spec", x))[:1]
        if not first or not getattr(first[0], "shape", None):
            return
        # That of the scope in which the model was made: `fit` may be outside.
        replicas = num_replicas(getattr(self, "distribute_strategy", None))
        if hasattr(x, "element_spec"):
            if not hasattr(x, "take"):
                return  # Of `tf.distribute`, for several workers.
            sizes = [first[0].shape[0]]
            if keras.backend.backend() == "jax":
                # Each worker has a part of the batch.
                sizes = [sizes[0] and sizes[0] * worker()[1]]
            if sizes[0] is None and replicas > 1:
                raise ValueError(
                    f"{replicas} devices share each batch, and the dataset "
                    "does not say how large its batches are, the last one "
                    "included. Make them by `batch(n, drop_remainder=True)`."
                )
        else:
            batch_size = batch_size or 32
            sizes = [batch_size, first[0].shape[0] % batch_size]
            if first[0].shape[0] < batch_size:
                sizes = sizes[1:]
        for size in sizes:
            if size is not None:
                check_batch_size(
                    size, self.gradient_accumulation_steps, replicas
                )


def _check_numbers(optimizer):
    # Of a schedule, that of the first step.
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    check_number("learning_rate", rate, 0)
    for name in ("clipnorm", "global_clipnorm", "clipvalue"):
        if getattr(optimizer, name) is not None:
            check_number(name, getattr(optimizer, name), 0, above=True)

import functools
import itertools

import keras
from keras import ops

from keras_vqvae2.backend.remat import in_order
from keras_vqvae2.backend.remat import remat
from keras_vqvae2.backend.replicas import uniform_per_image
from keras_vqvae2.hub.names import prior_file
from keras_vqvae2.hub.prior_config import PriorConfig
from keras_vqvae2.hub.store import load_snapshot
from keras_vqvae2.hub.weight_types import prior_types
from keras_vqvae2.layers import CausalSelfAttention
from keras_vqvae2.layers import GatedMaskedConv2D
from keras_vqvae2.layers import ResidualStack
from keras_vqvae2.models.prior_layout import prior_layout_map
from keras_vqvae2.training import BackendStep
from keras_vqvae2.training import CodeLikelihood
from keras_vqvae2.weights import check_weights
from keras_vqvae2.weights import load_weights


@keras.saving.register_keras_serializable("keras_vqvae2")
class PixelSNAILPrior(CodeLikelihood, BackendStep, keras.Model):
    """Autoregressive prior of one level's codes.

    Gated PixelCNN blocks with causal attention between them give, at each
    position of a code map, the probabilities of its code given the codes
    before it in raster order, the coarser maps and the class. The top prior of
    VQ-VAE-2 for ImageNet (table 3) sees maps of shape `(batch, 32, 32)` and
    gives logits of shape `(batch, 32, 32, 512)`.

    Source: section 3.2 and tables 3 and 4 of arXiv 1906.00446; PixelSNAIL,
    arXiv 1712.09763.

    Args:
        code_shapes: Height and width of each code map, coarse to fine. The last
            one is this level's; the others are given.
        num_embeddings: Number of codes.
        hidden_dim: Channels of the two stacks.
        residual_dim: Units of the gates and of the residual blocks.
        num_blocks: Number of gated blocks.
        kernel_size: Odd width and height of the kernels before masking.
        num_attention_layers: Attention layers, evenly after the blocks.
        num_heads: Heads of each.
        num_output_blocks: Residual blocks of 1x1 convolutions at the end.
        num_conditioning_blocks: Residual blocks on the coarser maps.
        dropout: Dropout rate, in every block and on the attention's logits.
        num_classes: Number of classes, or None.
        class_dropout: Share of images that are trained without their class.
        rematerialize: Whether training keeps what lies between blocks only
            and computes the rest again for the gradients: a third more work,
            a fraction of the memory.
        seed: Seed of `class_dropout`.
        **kwargs: `name`, `dtype` as for every Keras model.

    Call arguments:
        inputs: Dict of `"codes"`, a sequence of integer tensors
            `(batch, *size)` for each of `code_shapes`, and, with `num_classes`,
            `"labels"`, an integer tensor `(batch,)`; the label `num_classes`
            is "no class".

    Returns:
        Float32 logits `(batch, *code_shapes[-1], num_embeddings)`.

    Raises:
        ValueError: If an argument is out of the bounds of
            `hub.prior_config.PriorConfig`, which a saved prior is within, or
            the inputs do not fit.

    Example:

    ```python
    prior = keras_vqvae2.PixelSNAILPrior(
        code_shapes=((8, 8),), num_embeddings=16, hidden_dim=16,
        residual_dim=16, num_blocks=2, num_attention_layers=1, num_heads=2,
        num_output_blocks=1,
    )
    logits = prior({"codes": (keras.ops.zeros((1, 8, 8), "int32"),)})
    assert logits.shape == (1, 8, 8, 16)
    ```
    """

    def __init__(
        self,
        code_shapes=((32, 32),),
        num_embeddings=512,
        hidden_dim=512,
        residual_dim=2048,
        num_blocks=20,
        kernel_size=5,
        num_attention_layers=4,
        num_heads=8,
        num_output_blocks=20,
        num_conditioning_blocks=0,
        dropout=0.1,
        num_classes=None,
        class_dropout=0.0,
        rematerialize=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        config = PriorConfig(
            code_shapes=code_shapes,
            num_embeddings=num_embeddings,
            hidden_dim=hidden_dim,
            residual_dim=residual_dim,
            num_blocks=num_blocks,
            kernel_size=kernel_size,
            num_attention_layers=num_attention_layers,
            num_heads=num_heads,
            num_output_blocks=num_output_blocks,
            num_conditioning_blocks=num_conditioning_blocks,
            dropout=dropout,
            num_classes=num_classes,
            class_dropout=class_dropout,
            seed=seed,
        )
        self.code_shapes = tuple(map(tuple, config.code_shapes))
        for coarse, fine in itertools.pairwise(self.code_shapes):
            _doublings(coarse, fine)
        self.num_embeddings = config.num_embeddings
        self.hidden_dim = config.hidden_dim
        self.residual_dim = config.residual_dim
        self.num_blocks = config.num_blocks
        self.kernel_size = config.kernel_size
        self.num_attention_layers = config.num_attention_layers
        self.num_heads = config.num_heads
        self.num_output_blocks = config.num_output_blocks
        self.num_conditioning_blocks = config.num_conditioning_blocks
        self.dropout = config.dropout
        self.num_classes = config.num_classes
        self.class_dropout = config.class_dropout
        self.rematerialize = rematerialize
        self.seed = config.seed
        self.seed_generator = keras.random.SeedGenerator(self.seed)

        def embedding(name, number):
            return keras.layers.Embedding(
                number, hidden_dim, dtype=self.dtype_policy, name=name
            )

        def dense(name, units):
            return keras.layers.Dense(units, dtype=self.dtype_policy, name=name)

        self.code_embedding = embedding("code_embedding", num_embeddings)
        self.row_embedding = embedding("row_embedding", self.code_shapes[-1][0])
        self.column_embedding = embedding(
            "column_embedding", self.code_shapes[-1][1]
        )
        self.class_embedding = None
        if num_classes is not None:
            self.class_embedding = embedding("class_embedding", num_classes + 1)
        self.blocks = [
            GatedMaskedConv2D(
                residual_dim,
                kernel_size,
                mask_type="B" if i else "A",
                dropout=dropout,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i in range(num_blocks)
        ]
        self.attentions = [
            CausalSelfAttention(
                num_heads,
                hidden_dim // num_heads,
                mask_type="A",
                dropout=dropout,
                dtype=self.dtype_policy,
                name=f"attention_{i}",
            )
            for i in range(num_attention_layers)
        ]
        self.attention_projections = [
            dense(f"attention_projection_{i}", hidden_dim)
            for i in range(num_attention_layers)
        ]
        self.output_blocks = [
            (
                dense(f"output_{i}_residual", residual_dim),
                keras.layers.Dropout(
                    dropout,
                    dtype=self.dtype_policy,
                    name=f"output_{i}_dropout",
                ),
                dense(f"output_{i}_hidden", hidden_dim),
            )
            for i in range(num_output_blocks)
        ]
        self.logits = keras.layers.Dense(
            num_embeddings, dtype=self.dtype_policy, name="logits"
        )
        self.condition_embeddings = [
            embedding(f"condition_embedding_{i}", num_embeddings)
            for i in range(len(self.code_shapes) - 1)
        ]
        self.condition_upsamples = [
            [
                keras.layers.Conv2DTranspose(
                    hidden_dim,
                    4,
                    strides=2,
                    padding="same",
                    data_format="channels_last",
                    dtype=self.dtype_policy,
                    name=f"condition_upsample_{i}_{j}",
                )
                for j in range(_doublings(coarse, fine))
            ]
            for i, (coarse, fine) in enumerate(
                zip(self.code_shapes, self.code_shapes[1:], strict=False)
            )
        ]
        self.condition_stack = None
        if self.condition_embeddings:
            self.condition_stack = ResidualStack(
                num_conditioning_blocks,
                residual_dim,
                dtype=self.dtype_policy,
                name="condition_stack",
            )
        float64 = self.compute_dtype == "float64"
        self.logits_dtype = "float64" if float64 else "float32"
        self._add_metrics()
        self.build((None, *self.code_shapes[-1]))

    @classmethod
    def from_pretrained(
        cls, name_or_path, level="top", *, dtype=None, **kwargs
    ):
        """The prior of one level of a trained model.

        Args:
            name_or_path: As for `keras_vqvae2.from_pretrained`.
            level: Name of the level: `"top"`, ...
            dtype: As for `keras_vqvae2.from_pretrained`.
            **kwargs: The other arguments of `keras_vqvae2.from_pretrained`.

        Returns:
            `PixelSNAILPrior`.

        Raises:
            ValueError: If the model has no prior of this level.
        """
        load = functools.partial(cls.from_snapshot, level=level, dtype=dtype)
        return load_snapshot(load, name_or_path, **kwargs)

    @classmethod
    def from_snapshot(cls, snapshot, level="top", dtype=None):
        """The prior of one level of a `hub.Snapshot`."""
        config = snapshot.config
        if level not in config.priors:
            raise ValueError(
                f"{config.name} has no prior of the level {level!r}. It has "
                f"priors of: {', '.join(config.priors) or 'no level'}."
            )
        path = snapshot.path(prior_file(level))
        check_weights(path, prior_types(config.priors[level]))
        prior = cls(**vars(config.priors[level]), dtype=dtype)
        load_weights(prior, path)
        return prior

    def build(self, input_shape):
        height, width = self.code_shapes[-1]
        channels = self.hidden_dim
        maps = (None, height, width, channels)
        self.code_embedding.build((None, height, width))
        self.row_embedding.build((height,))
        self.column_embedding.build((width,))
        options = {}
        if self.class_embedding is not None:
            self.class_embedding.build((None,))
            options["class_vector_shape"] = (None, channels)
        for i, embedding in enumerate(self.condition_embeddings):
            embedding.build((None, *self.code_shapes[i]))
            for upsample in self.condition_upsamples[i]:
                upsample.build((None, None, None, channels))
        if self.condition_stack is not None:
            self.condition_stack.build((None, None, None, channels))
            options["condition_shape"] = maps
        for block in self.blocks:
            block.build((maps, maps), **options)
        keys = (*maps[:-1], 2 * channels)
        for attention, projection in zip(
            self.attentions, self.attention_projections, strict=True
        ):
            attention.build(maps, keys)
            projection.build(maps)
        for residual, _, hidden in self.output_blocks:
            residual.build(maps)
            hidden.build((*maps[:-1], self.residual_dim))
        self.logits.build(maps)

    def call(self, inputs, training=False):
        *coarser, codes = inputs["codes"]
        rematerialize = training and self.rematerialize
        class_vector = self.embed_class(inputs.get("labels"), training)
        condition = self.embed_coarser(coarser, rematerialize)
        embedded = self.code_embedding(codes)  # (B, H, W, hidden_dim)
        vertical = horizontal = embedded
        for i, block in enumerate(self.blocks):
            if rematerialize and condition is not None:
                vertical, horizontal, condition = in_order(
                    vertical, horizontal, condition
                )
            vertical, horizontal = block(
                (vertical, horizontal),
                class_vector,
                condition,
                training=training,
                rematerialize=rematerialize,
            )
            if i == 0:
                rows = ops.arange(self.code_shapes[-1][0])[:, None]
                position = self.embed_position(rows)  # (H, W, hidden_dim)
                vertical = vertical + position
                horizontal = horizontal + position
            number = self.attention_after(i)
            if number is not None:
                attention = self.attentions[number]
                projection = self.attention_projections[number]

                def attend(
                    horizontal,
                    embedded,
                    attention=attention,
                    projection=projection,
                ):
                    keys = ops.concatenate([horizontal, embedded], axis=-1)
                    x = attention(
                        horizontal,
                        keys,
                        training=training,
                        rematerialize=rematerialize,
                    )
                    return horizontal + projection(x)

                horizontal = remat(attend, [attention], rematerialize)(
                    horizontal, embedded
                )
        return self.output_logits(horizontal, training, rematerialize)

    def attention_after(self, block):
        """Number of the attention layer after a block, or None."""
        number = self.num_attention_layers
        done = (block + 1) * number // self.num_blocks
        before = block * number // self.num_blocks
        return before if done > before else None

    def embed_position(self, rows):
        """Embeddings `(..., width, hidden_dim)` of all columns of rows.

        Args:
            rows: Integer tensor, `(..., 1)` or a scalar.
        """
        columns = ops.arange(self.code_shapes[-1][1])
        return self.row_embedding(rows) + self.column_embedding(columns)

    def embed_class(self, labels, training=False):
        """Class vectors `(batch, hidden_dim)`, or None without classes."""
        if self.class_embedding is None:
            return None
        if training and self.class_dropout:
            draws = uniform_per_image(
                ops.shape(labels)[0], 1, self.seed_generator
            )
            labels = ops.where(
                draws[:, 0] < self.class_dropout, self.num_classes, labels
            )
        return self.class_embedding(labels)

    def embed_coarser(self, coarser, rematerialize=False):
        """The coarser maps as one, of this level's size; None without any."""
        x = None
        for i, codes in enumerate(coarser):
            embedded = self.condition_embeddings[i](codes)
            x = embedded if x is None else x + embedded
            if i == len(coarser) - 1:
                x = self.condition_stack(x, rematerialize=rematerialize)
            for upsample in self.condition_upsamples[i]:
                x = upsample(x)
        return x

    def output_logits(
        self,
        x,
        training=False,
        rematerialize=False,
        apply=lambda layer, x: layer(x),
    ):
        """Logits of the last block's output `(..., hidden_dim)`.

        Args:
            x: Tensor of any rank: each position is by itself.
            training: As for `call`.
            rematerialize: Whether to recompute activations for the gradients.
            apply: Function of a Dense layer and its inputs.
        """
        for residual, dropout, hidden in self.output_blocks:

            def block(x, residual=residual, dropout=dropout, hidden=hidden):
                y = ops.relu(apply(residual, ops.relu(x)))
                return x + apply(hidden, dropout(y, training=training))

            x = remat(block, [dropout], rematerialize)(x)
        return ops.cast(apply(self.logits, ops.relu(x)), self.logits_dtype)

    def compute_output_spec(self, inputs, training=False):
        *_, codes = inputs["codes"]
        return keras.KerasTensor(
            (*codes.shape, self.num_embeddings), dtype=self.logits_dtype
        )

    get_layout_map = staticmethod(prior_layout_map)

    def get_config(self):
        return {
            **super().get_config(),
            "code_shapes": self.code_shapes,
            "num_embeddings": self.num_embeddings,
            "hidden_dim": self.hidden_dim,
            "residual_dim": self.residual_dim,
            "num_blocks": self.num_blocks,
            "kernel_size": self.kernel_size,
            "num_attention_layers": self.num_attention_layers,
            "num_heads": self.num_heads,
            "num_output_blocks": self.num_output_blocks,
            "num_conditioning_blocks": self.num_conditioning_blocks,
            "dropout": self.dropout,
            "num_classes": self.num_classes,
            "class_dropout": self.class_dropout,
            "rematerialize": self.rematerialize,
            "seed": self.seed,
        }


def _doublings(coarse, fine):
    """log2 of the ratio of two shapes."""
    ratio = fine[0] // coarse[0]
    if (
        fine != (ratio * coarse[0], ratio * coarse[1])
        or ratio < 1
        or ratio & (ratio - 1)
    ):
        raise ValueError(
            "Each code map must be 1, 2, 4, ... times the size of the one "
            f"before. Received: {coarse} and {fine}"
        )
    return ratio.bit_length() - 1

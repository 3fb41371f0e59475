import math

import keras
from keras import ops

from keras_vqvae2.arguments import check_number
from keras_vqvae2.backend.replicas import uniform_per_image
from keras_vqvae2.hub.mixin import HubMixin
from keras_vqvae2.hub.names import WEIGHTS
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.hub.weight_types import vqvae_types
from keras_vqvae2.layers import Decoder
from keras_vqvae2.layers import Encoder
from keras_vqvae2.layers import VectorQuantizer
from keras_vqvae2.layers import VectorQuantizerEMA
from keras_vqvae2.layers.encoder import num_halvings
from keras_vqvae2.levels import level_names
from keras_vqvae2.models._inputs import check_codes
from keras_vqvae2.models._inputs import check_image_shape
from keras_vqvae2.models._inputs import check_levels
from keras_vqvae2.models._inputs import check_pixel_values
from keras_vqvae2.models._inputs import check_training_images
from keras_vqvae2.models._inputs import checked_batches
from keras_vqvae2.models._inputs import is_symbolic
from keras_vqvae2.models._inputs import to_array
from keras_vqvae2.training import BackendStep
from keras_vqvae2.training import ReconstructionLoss
from keras_vqvae2.weights import check_weights
from keras_vqvae2.weights import load_weights


@keras.saving.register_keras_serializable("keras_vqvae2")
class HierarchicalVQVAE(HubMixin, ReconstructionLoss, BackendStep, keras.Model):
    """Autoencoder with one map of discrete codes per level (VQ-VAE-2).

    With `strides=(4, 2)`, an image of 256x256 pixels becomes a bottom map of
    64x64 codes and a top map of 32x32 codes; with `(8, 2, 2)`, one of
    1024x1024 becomes maps of 128x128, 64x64 and 32x32. One stride makes the
    original VQ-VAE. The top map is quantized first; its decoded form joins
    the encoder's features before the next finer map is quantized, and the
    last decoder sees every map (algorithm 1 and figure 2 of arXiv
    1906.00446). The defaults are table 5's sizes for ImageNet at 256x256.

    `compile(optimizer)` and `fit` on images, or on (images, labels) with the
    labels ignored. The loss is equation 2: the mean squared error of the
    images scaled to [-1, 1], plus the commitment of each level. A step whose
    gradient is not finite changes nothing and is counted in the metric
    `skipped_steps`.

    Args:
        strides: Downsampling of each level, powers of two, in the order in
            which an image passes them, finest level first: relative to the
            image, then to the level before. Everything else that has one
            entry a level, codes and layers alike, goes coarse to fine.
        hidden_dim: Channels of the convolutions ("hidden units"), even.
        residual_dim: Channels inside residual blocks ("residual units").
        num_residual_blocks: Residual blocks of each encoder and decoder.
        num_embeddings: Codebook entries of each level.
        embedding_dim: Dimension of the codebook vectors.
        commitment_cost: Weight of the commitment term, beta.
        decay: Decay of the codebook's moving average, gamma. None learns the
            codebook by gradient instead (`VectorQuantizer`).
        dead_code_threshold: A code used less than this share of the average
            is restarted; 0 turns it off.
        level_dropout: In training, the share of images that are decoded from
            a random number of their coarser maps alone, so that these learn
            to stand by themselves. Not in the paper; see `decode(levels=)`.
        num_channels: Channels of the images.
        seed: Integer; seeds the restarts of codes and the level dropout.
        skip_relu: As for `ResidualStack`.
        **kwargs: `name`, `dtype`, `trainable` as for every Keras model.

    Call arguments:
        images: uint8 or float tensor `(batch, height, width, num_channels)`,
            pixel values 0..255; height and width are multiples of
            `total_stride`.
        training: Whether the codebooks are updated.

    Returns:
        Tuple `(reconstructions, codes)`: float32 images, nominally in 0..255
        but not clipped, and a tuple of int32 maps, coarse to fine.

    Raises:
        ValueError: If an argument is out of the bounds of
            `hub.vqvae_config.VQVAEConfig`, which a saved model is within, or
            the images' shape does not fit.

    Example:

    ```python
    model = keras_vqvae2.HierarchicalVQVAE(strides=(4, 2))
    images = np.zeros((1, 256, 256, 3), "uint8")
    top, bottom = model.encode(images)
    assert top.shape == (1, 32, 32) and bottom.shape == (1, 64, 64)
    assert model.decode((top, bottom)).shape == (1, 256, 256, 3)
    ```
    """

    def __init__(
        self,
        strides=(4, 2),
        hidden_dim=128,
        residual_dim=64,
        num_residual_blocks=2,
        num_embeddings=512,
        embedding_dim=64,
        commitment_cost=0.25,
        decay=0.99,
        dead_code_threshold=0.05,
        level_dropout=0.0,
        num_channels=3,
        seed=0,
        skip_relu=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        # Pixels up to 255 would lose bits in half precision: scale first.
        self.autocast = False
        config = VQVAEConfig(
            strides=strides,
            hidden_dim=hidden_dim,
            residual_dim=residual_dim,
            num_residual_blocks=num_residual_blocks,
            num_embeddings=num_embeddings,
            embedding_dim=embedding_dim,
            commitment_cost=commitment_cost,
            decay=decay,
            dead_code_threshold=dead_code_threshold,
            num_channels=num_channels,
            seed=seed,
            skip_relu=skip_relu,
        )
        self.strides = tuple(config.strides)
        self.hidden_dim = config.hidden_dim
        self.residual_dim = config.residual_dim
        self.num_residual_blocks = config.num_residual_blocks
        self.num_embeddings = config.num_embeddings
        self.embedding_dim = config.embedding_dim
        self.commitment_cost = config.commitment_cost
        self.decay = config.decay
        self.dead_code_threshold = config.dead_code_threshold
        self.level_dropout = level_dropout
        self.num_channels = config.num_channels
        self.seed = config.seed
        self.skip_relu = config.skip_relu
        self.seed_generator = keras.random.SeedGenerator(self.seed)

        # Coarse to fine, as the codes. The layers are made in the order of
        # `strides`: a random seed gives the same weights as ever.
        self.encoders = []
        self.projections = []
        self.quantizers = []
        self.decoders = []
        self.upsamples = []
        for level in reversed(range(self.num_levels)):
            self._add_level(level)

        self._add_metrics(self.num_embeddings, self.level_names)
        self.build((None, None, None, self.num_channels))

    @classmethod
    def from_snapshot(cls, snapshot, dtype=None):
        """The autoencoder of a `hub.Snapshot`."""
        path = snapshot.path(WEIGHTS)
        check_weights(path, vqvae_types(snapshot.config.vqvae))
        model = cls(**vars(snapshot.config.vqvae), dtype=dtype)
        load_weights(model, path)
        return model

    def _saved_models(self):
        return {"vqvae": self}

    def _add_level(self, level):
        name = self.level_names[level]
        finest = level == self.num_levels - 1
        conv_stack = {
            "stride": self._stride(level),
            "hidden_dim": self.hidden_dim,
            "residual_dim": self.residual_dim,
            "num_residual_blocks": self.num_residual_blocks,
            "skip_relu": self.skip_relu,
            "dtype": self.dtype_policy,
        }
        self.encoders.insert(0, Encoder(name=f"encoder_{name}", **conv_stack))
        projection = keras.layers.Conv2D(
            self.embedding_dim,
            1,
            data_format="channels_last",
            dtype=self.dtype_policy,
            name=f"projection_{name}",
        )
        self.projections.insert(0, projection)
        quantizer = {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "commitment_cost": self.commitment_cost,
            "dead_code_threshold": self.dead_code_threshold,
            "seed": self.seed + self.num_levels - 1 - level,
            "dtype": self.dtype_policy,
            "name": f"quantizer_{name}",
        }
        if self.decay is None:
            quantizer = VectorQuantizer(**quantizer)
        else:
            quantizer = VectorQuantizerEMA(decay=self.decay, **quantizer)
        self.quantizers.insert(0, quantizer)
        output_dim = self.num_channels if finest else self.embedding_dim
        decoder = Decoder(output_dim, name=f"decoder_{name}", **conv_stack)
        self.decoders.insert(0, decoder)
        # Brings this and all coarser quantized maps to the next finer size.
        upsamples = [
            keras.layers.Conv2DTranspose(
                self._joined_dim(level),
                4,
                strides=2,
                padding="same",
                data_format="channels_last",
                dtype=self.dtype_policy,
                name=f"upsample_{name}_{i}",
            )
            for i in range(0 if finest else num_halvings(self._stride(level)))
        ]
        self.upsamples.insert(0, upsamples)

    def _stride(self, level):
        """Stride of a level, counted coarse to fine."""
        return self.strides[self.num_levels - 1 - level]

    def _joined_dim(self, level):
        return self.embedding_dim * (level + 1)

    @property
    def level_dropout(self):
        """Share of images that training decodes from coarser maps alone."""
        return self._level_dropout

    @level_dropout.setter
    def level_dropout(self, value):
        check_number("level_dropout", value, 0, 1)
        self._level_dropout = value

    @property
    def num_levels(self):
        """Number of code maps."""
        return len(self.strides)

    @property
    def level_names(self):
        """Names of the code maps, coarse to fine."""
        return level_names(self.num_levels)

    @property
    def total_stride(self):
        """Height and width of images must be multiples of this."""
        return math.prod(self.strides)

    def code_shapes(self, height, width):
        """Sizes of the code maps of an image, coarse to fine."""
        shapes = []
        for stride in self.strides:
            height, width = height // stride, width // stride
            shapes.append((height, width))
        return tuple(reversed(shapes))

    def bits_per_image(self, height, width):
        """Bits of an image's codes under a uniform prior.

        log2(num_embeddings) for each code of every level.
        """
        num_codes = sum(map(math.prod, self.code_shapes(height, width)))
        return num_codes * math.log2(self.num_embeddings)

    def build(self, input_shape):
        shape = input_shape
        for level in reversed(range(self.num_levels)):
            self.encoders[level].build(shape)
            shape = (*input_shape[:-1], self.hidden_dim)
            coarser = self.embedding_dim if level else 0
            self.projections[level].build(
                (*input_shape[:-1], self.hidden_dim + coarser)
            )
            self.quantizers[level].build(
                (*input_shape[:-1], self.embedding_dim)
            )
            joined = (*input_shape[:-1], self._joined_dim(level))
            self.decoders[level].build(joined)
            for upsample in self.upsamples[level]:
                upsample.build(joined)

    def _join(self, level, coarser, quantized):
        """All quantized maps down to `level`, at that level's size."""
        if coarser is None:
            return quantized
        for upsample in self.upsamples[level - 1]:
            coarser = upsample(coarser)
        return ops.concatenate([coarser, quantized], axis=-1)

    def _lookup(self, codes):
        """Quantized maps of codes, as many as are given."""
        return [
            quantizer.lookup(level_codes)
            for quantizer, level_codes in zip(
                self.quantizers, codes, strict=False
            )
        ]

    def _join_all(self, quantized):
        """Quantized maps at the size of the last; None of none."""
        joined = None
        for level, level_quantized in enumerate(quantized):
            joined = self._join(level, joined, level_quantized)
        return joined

    def _features(self, images):
        """The encoders' outputs, coarse to fine."""
        check_image_shape(images.shape, self.num_channels, self.total_stride)
        x = ops.cast(images, "float32") / 127.5 - 1.0
        x = ops.cast(x, self.compute_dtype)
        features = []
        for encoder in reversed(self.encoders):
            x = encoder(x)
            features.insert(0, x)
        return features

    def _project(self, level, features, joined):
        """What the quantizer of a level gets."""
        if joined is not None:
            decoded = self.decoders[level - 1](joined)
            features = ops.concatenate([decoded, features], axis=-1)
        return self.projections[level](features)

    def vectors(self, images, codes=()):
        """Vectors of which `encode` takes the nearest codes.

        Those of the level after the given ones: what is left to say of the
        images by finer codes depends on the coarser codes.

        Args:
            images: As for `encode`.
            codes: Code maps `(batch, height_i, width_i)` of the coarsest
                levels, fewer than `num_levels`.

        Returns:
            Float32 tensor `(batch, height_i, width_i, embedding_dim)`.
        """
        features = self._features(images)
        joined = self._join_all(self._lookup(codes))
        vectors = self._project(len(codes), features[len(codes)], joined)
        return ops.cast(vectors, "float32")

    def _quantize_levels(self, images, training):
        """Algorithm 1's encoder: `(joined quantized maps, codes)`."""
        features = self._features(images)
        joined = None
        codes = []
        dropped = None
        if training and self.level_dropout and self.num_levels > 1:
            dropped = self._draw_dropped_levels(ops.shape(images)[0])
        for level in range(self.num_levels):
            quantizer = self.quantizers[level]
            if dropped is not None:
                # Of the codebook as it was before this step: every part of
                # the batch has the same.
                mean = ops.stop_gradient(quantizer.mean_embedding())
            quantized, level_codes = quantizer(
                self._project(level, features[level], joined),
                training=training,
            )
            codes.append(level_codes)
            if dropped is not None:
                keep = level < self.num_levels - dropped
                keep = keep[:, None, None, None]  # (B, 1, 1, 1)
                quantized = ops.where(keep, quantized, mean)
            joined = self._join(level, joined, quantized)
        return joined, tuple(codes)

    def _draw_dropped_levels(self, batch):
        """For each image, how many of the finest levels are left out."""
        draws = uniform_per_image(batch, 2, self.seed_generator)
        number = 1 + ops.floor(draws[:, 0] * (self.num_levels - 1))
        number = ops.where(draws[:, 1] < self.level_dropout, number, 0.0)
        return ops.cast(number, "int32")  # (B,)

    def call(self, images, training=False):
        joined, codes = self._quantize_levels(images, training)
        return self._to_pixels(self.decoders[-1](joined)), codes

    def compute_output_spec(self, images, training=False):
        check_image_shape(images.shape, self.num_channels, self.total_stride)
        batch, *size, _ = images.shape
        codes = []
        for stride in self.strides:
            size = [s and s // stride for s in size]
            codes.append(keras.KerasTensor((batch, *size), dtype="int32"))
        reconstructions = keras.KerasTensor(images.shape, dtype="float32")
        return reconstructions, tuple(reversed(codes))

    def _to_pixels(self, x):
        return (ops.cast(x, "float32") + 1.0) * 127.5

    def encode(self, images):
        """Codes of images.

        Args:
            images: uint8 or float array or tensor `(batch, height, width,
                num_channels)`, pixel values 0..255.

        Returns:
            Tuple of int32 tensors `(batch, height_i, width_i)`, coarse to
            fine, each code in `0 <= code < num_embeddings`.

        Raises:
            ValueError: If shape or values of the images do not fit.
        """
        if not is_symbolic(images):
            images = to_array(images, "images")
            check_image_shape(images.shape, self.num_channels)
            check_pixel_values(images)
            images = ops.convert_to_tensor(images)
        return self._quantize_levels(images, training=False)[1]

    def decode(self, codes, levels=None):
        """Images of codes.

        Args:
            codes: Sequence of integer arrays or tensors `(batch, height_i,
                width_i)`, coarse to fine, as `encode` returns them. With
                `levels=n` the first n are enough.
            levels: Decode from the first `levels` maps only, to see what they
                hold (figure 3 of the paper). The others are replaced by their
                codebook's mean vector.

        Returns:
            Float32 tensor `(batch, height, width, num_channels)`, pixel
            values in 0..255.

        Raises:
            ValueError: If number, sizes or values of the codes do not fit.
        """
        levels = check_levels(levels, self)
        codes = check_codes(codes, self, levels)
        quantized = self._lookup(codes[:levels])
        for level in range(levels, self.num_levels):
            batch, *size, _ = ops.shape(quantized[-1])
            size = [s * self._stride(level - 1) for s in size]
            mean = self.quantizers[level].mean_embedding()
            quantized.append(
                ops.broadcast_to(mean, (batch, *size, self.embedding_dim))
            )
        joined = self._join_all(quantized)
        images = self._to_pixels(self.decoders[-1](joined))
        return ops.clip(images, 0.0, 255.0)

    def fit(self, x=None, *args, **kwargs):
        """As `keras.Model.fit`; float images are first checked for range.

        Raises:
            TypeError: If these are no images at all.
            ValueError: If shape or values of the images do not fit, as far as
                a look at the first batches shows.
        """
        check_training_images(x, self)
        validation = kwargs.get("validation_data")
        if validation is not None:
            if isinstance(validation, (tuple, list)):
                validation = validation[0]
            check_training_images(validation, self)
        return super().fit(checked_batches(x, self), *args, **kwargs)

    def get_config(self):
        return {
            **super().get_config(),
            "strides": self.strides,
            "hidden_dim": self.hidden_dim,
            "residual_dim": self.residual_dim,
            "num_residual_blocks": self.num_residual_blocks,
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "commitment_cost": self.commitment_cost,
            "decay": self.decay,
            "dead_code_threshold": self.dead_code_threshold,
            "level_dropout": self.level_dropout,
            "num_channels": self.num_channels,
            "seed": self.seed,
            "skip_relu": self.skip_relu,
        }

import functools
import math

import numpy as np
from keras import ops

from keras_vqvae2.anomalies import SurpriseMixin
from keras_vqvae2.backend.compile import compile_function
from keras_vqvae2.code_search import CodeSearch
from keras_vqvae2.code_search import check_search
from keras_vqvae2.codec import CodePool
from keras_vqvae2.codec.code_model import load_context
from keras_vqvae2.compression import CompressMixin
from keras_vqvae2.compression import check_rate_weight
from keras_vqvae2.editing import EditMixin
from keras_vqvae2.export import export_model
from keras_vqvae2.generation import GenerateMixin
from keras_vqvae2.hub.config import ModelConfig
from keras_vqvae2.hub.mixin import HubMixin
from keras_vqvae2.hub.presets import find_preset
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.images import batches_of
from keras_vqvae2.images import pad_to_multiple
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.models import PixelSNAILPrior
from keras_vqvae2.models._inputs import check_codes
from keras_vqvae2.models._inputs import check_image_shape
from keras_vqvae2.models._inputs import check_levels
from keras_vqvae2.models._inputs import check_pixel_values
from keras_vqvae2.models._inputs import to_array
from keras_vqvae2.models.priors import Priors
from keras_vqvae2.tiles import Tiling


class VQVAE2(CompressMixin, GenerateMixin, EditMixin, SurpriseMixin, HubMixin):
    """Images to codes and codes to images, with a trained model.

    NumPy in, NumPy out, in batches, and images above 4 megapixels in tiles,
    that bound the memory; the results are those of the whole. The weights are
    those of `vqvae`, a `HierarchicalVQVAE`, which is there for training.

    Args:
        vqvae: `HierarchicalVQVAE`.
        name: Name of the preset, if it is one.
        priors: Dict: by level name (`"top"`, ...) a `PixelSNAILPrior`, or a
            function without arguments that loads it. With one for each level
            the model can `generate`. The attribute of this name is a mapping
            from level name to `PixelSNAILPrior`, see `keep_priors`.
        context: `codec.ContextModel` for small code files, a function without
            arguments that loads it, or None.
        labels: Names of the classes of the priors, a list of strings, or None.
        image_size: Height and width of the images that the model was trained
            on, or None.
        revision: 1 for the first weights of this name, 1 more for each that
            gives other codes: `info` and errors about code files say it.

    Raises:
        TypeError: If `vqvae` is not a `HierarchicalVQVAE`.
        ValueError: If there is no level of a prior's name, or `labels`,
            `image_size` or `revision` cannot be saved.

    Example:

    ```python
    model = keras_vqvae2.from_pretrained("vqvae2-imagenet256")
    image = np.zeros((1, 300, 200, 3), "uint8")
    codes = model.encode(image[:, :256, :192])
    assert [c.shape for c in codes] == [(1, 32, 24), (1, 64, 48)]
    assert model.decode(codes).shape == (1, 256, 192, 3)
    assert model.reconstruct(image).shape == (1, 300, 200, 3)
    ```
    """

    def __init__(
        self,
        vqvae,
        name=None,
        priors=None,
        context=None,
        labels=None,
        image_size=None,
        revision=1,
    ):
        if not isinstance(vqvae, HierarchicalVQVAE):
            raise TypeError(
                "`vqvae` must be a HierarchicalVQVAE. Received: "
                f"{type(vqvae).__name__}"
            )
        self.vqvae = vqvae
        self.name = name
        self.priors = Priors(priors or {})
        self._context = context
        checked = ModelConfig(
            "model",
            VQVAEConfig.from_model(vqvae.get_config()),
            labels=labels,
            image_size=image_size,
            revision=revision,
        )
        self.labels = checked.labels
        self.image_size = checked.image_size
        self.revision = checked.revision
        for level in self.priors:
            if level not in vqvae.level_names:
                raise ValueError(
                    f"There is no level {level!r} for a prior: this model has "
                    f"{', '.join(vqvae.level_names)}."
                )
        # Without `encode`'s checks: they are made once, of the whole batch.
        self._encode = compile_function(
            vqvae,
            lambda images: vqvae._quantize_levels(images, training=False)[1],
        )
        self._tiling = Tiling(vqvae.strides, vqvae.num_residual_blocks)
        self._vectors = {}
        self._decoders = {}
        self._samplers = {}

    @classmethod
    def from_snapshot(cls, snapshot, dtype=None):
        """The model of a `hub.Snapshot`."""
        config = snapshot.config
        vqvae = HierarchicalVQVAE.from_snapshot(snapshot, dtype)
        priors = {
            level: functools.partial(
                PixelSNAILPrior.from_snapshot, snapshot, level, dtype
            )
            for level in config.priors
        }
        context = functools.partial(load_context, snapshot)
        return cls(
            vqvae,
            config.name,
            priors,
            context,
            config.labels,
            config.image_size,
            config.revision,
        )

    @classmethod
    def from_preset_config(cls, name, dtype=None):
        """An untrained model with the sizes of a preset.

        Args:
            name: Name of a preset.
            dtype: Dtype policy; None takes Keras's global one.

        Returns:
            `VQVAE2`, without priors.

        Raises:
            ValueError: If there is no such preset.
        """
        arguments = find_preset(name).vqvae
        return cls(HierarchicalVQVAE(**arguments, dtype=dtype), name=name)

    def _saved_models(self):
        priors = {
            level: functools.partial(self.load_prior, level)
            for level in self.priors
        }
        return {
            "vqvae": self.vqvae,
            "name": self.name,
            "priors": priors,
            "context": self.context,
            "labels": self.labels,
            "image_size": self.image_size,
            "revision": self.revision,
        }

    def __repr__(self):
        codes = "x".join(map(str, self.vqvae.strides))
        levels = ", ".join(self.priors) or "none"
        return (
            f"<VQVAE2 {self.name or 'without a name'}: "
            f"{self.vqvae.count_params()} parameters, strides {codes}, "
            f"{self.vqvae.num_embeddings} embeddings a level, priors: {levels}>"
        )

    def summary(self):
        """Prints the layers of the autoencoder, and what else there is.

        Example:

        ```python
        keras_vqvae2.from_pretrained("vqvae2-cifar10").summary()
        ```
        """
        self.vqvae.summary()
        print(repr(self))
        if self.image_size is not None:
            print(f"trained on images of {self.image_size}x{self.image_size}")
        if self.labels is not None:
            print(f"classes: {', '.join(self.labels)}")

    def encode(self, images, batch_size=8, rate_weight=0.0, search_steps=0):
        """Codes of images.

        Args:
            images: uint8 or float array `(batch, height, width, channels)`,
                pixel values 0..255; height and width are multiples of
                `vqvae.total_stride`.
            batch_size: Images at a time.
            rate_weight: Above 0 for codes that take fewer bits in a code
                file, at the cost of quality: those of the lowest squared
                distance + `rate_weight` x the level's mean squared distance x
                bits, instead of the nearest.
            search_steps: Steps of `CodeSearch` for the finest codes: as many
                bits, a nearer image, and several times the work of a decoding
                in each step. 0 is the plain encoder.

        Returns:
            Tuple of int32 arrays `(batch, height_i, width_i)`, coarse to fine.

        Raises:
            ValueError: If shape or values of the images do not fit, the model
                has no probabilities of codes for a `rate_weight`, or images
                are too large for `search_steps`.
        """
        images = to_array(images, "images")
        check_image_shape(
            images.shape, self.vqvae.num_channels, self.vqvae.total_stride
        )
        check_pixel_values(images)
        check_rate_weight(rate_weight)
        check_search(search_steps, rate_weight, images.shape)
        if rate_weight:
            with CodePool(self.code_model()) as pool:
                batches = [
                    self._encode_cheaply(batch, rate_weight, pool)
                    for batch in batches_of(images, batch_size)
                ]
            return tuple(map(np.concatenate, zip(*batches, strict=True)))
        return self._encode_batches(images, batch_size, search_steps)

    def _encode_batches(self, images, batch_size, search_steps=0):
        codes = self._tiling.encode(self._encode, images, batch_size)
        if search_steps:
            codes = self._search(images, codes, search_steps)
        return codes

    @functools.cached_property
    def _search(self):
        return CodeSearch(self.vqvae)

    def decode(self, codes, levels=None, batch_size=8):
        """Images of codes.

        Args:
            codes: Tuple of integer arrays `(batch, height_i, width_i)`,
                coarse to fine, as `encode` returns them.
            levels: Decode from the first `levels` maps only (figure 3 of the
                paper): what the coarse maps hold. None takes all.
            batch_size: Images at a time, fewer if they are large.

        Returns:
            uint8 array `(batch, height, width, channels)`.

        Raises:
            ValueError: If number, sizes or values of the codes do not fit.
        """
        levels = check_levels(levels, self.vqvae)
        codes = check_codes(codes, self.vqvae, levels)
        if levels not in self._decoders:
            self._decoders[levels] = compile_function(
                self.vqvae,
                lambda *maps: ops.cast(
                    ops.round(self.vqvae.decode(maps, levels)), "uint8"
                ),
            )
        codes = [ops.convert_to_numpy(level_codes) for level_codes in codes]
        return self._tiling.decode(self._decoders[levels], codes, batch_size)

    def reconstruct(self, images, levels=None, batch_size=8):
        """Decoded codes of images of any size.

        Images whose size is not a multiple of the total stride are mirrored at
        the lower and right edges (`mode="symmetric"` of `np.pad`), and the
        result is cropped back.

        Args:
            images: uint8 or float array `(batch, height, width, channels)`,
                pixel values 0..255.
            levels: As for `decode`.
            batch_size: Images at a time, fewer if they are large.

        Returns:
            uint8 array of the images' shape.

        Raises:
            ValueError: If shape or values of the images do not fit.
        """
        images = to_array(images, "images")
        check_image_shape(images.shape, self.vqvae.num_channels)
        check_pixel_values(images)
        height, width = images.shape[1:3]
        parts = []
        for batch in batches_of(images, batch_size):
            padded = pad_to_multiple(
                ops.convert_to_numpy(batch), self.vqvae.total_stride
            )
            codes = self._encode_batches(padded, batch_size)
            decoded = self.decode(codes, levels, batch_size)
            parts.append(decoded[:, :height, :width])
        return np.concatenate(parts)

    def export(self, folder, format="saved_model"):
        """Writes encoder and decoder for programs without Keras.

        `encode` makes maps of int32 codes of uint8 images `(batch, height,
        width, channels)`, height and width multiples of `vqvae.total_stride`;
        `decode` makes uint8 images of the maps. In a SavedModel these are two
        functions, the second with one argument for each level, coarse to fine;
        as ONNX and LiteRT two files, `encode.onnx` and `decode.onnx` (or
        `.tflite`), whose maps are named by level and whose images `images`.

        Args:
            folder: Folder to write, which must not exist.
            format: `"saved_model"` of TensorFlow, `"onnx"` (needs
                `pip install 'keras-vqvae2[onnx]'`), or `"litert"`.

        Raises:
            FileExistsError: If the folder exists.
            ImportError: If ONNX's converter is not installed.
            ValueError: If the backend is not TensorFlow, or the format is
                unknown.
            OSError: If the folder cannot be written.
        """
        export_model(self.vqvae, folder, format)

    def bits_per_pixel(self, height, width):
        """Bits of the codes per pixel of an image, under a uniform prior."""
        stride = self.vqvae.total_stride
        padded = [math.ceil(size / stride) * stride for size in (height, width)]
        return self.vqvae.bits_per_image(*padded) / (height * width)


from_pretrained = VQVAE2.from_pretrained

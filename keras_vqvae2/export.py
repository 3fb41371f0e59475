"""Encoder and decoder for programs without Keras."""

import os
import pathlib

import keras
import numpy as np
from keras import ops

from keras_vqvae2.files import atomic_folder
from keras_vqvae2.files import check_writable

# Ending of the two files of each format, by Keras's name of it.
_ENDINGS = {"onnx": ".onnx", "litert": ".tflite"}
FORMATS = ("saved_model", *_ENDINGS)


def export_model(vqvae, folder, format):
    """Writes encoder and decoder by Keras's own export.

    Args:
        vqvae: `HierarchicalVQVAE`.
        folder: As for `VQVAE2.export`.
        format: As for `VQVAE2.export`.

    Raises:
        As `VQVAE2.export`.
    """
    folder = pathlib.Path(folder).expanduser()
    if format not in FORMATS:
        raise ValueError(
            f"`format` must be one of {', '.join(FORMATS)}. Received: "
            f"{format!r}"
        )
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "Models are exported on the TensorFlow backend: set "
            "KERAS_BACKEND=tensorflow. It is "
            f"{keras.backend.backend()!r} here."
        )
    if format == "onnx":
        try:
            import tf2onnx  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "ONNX needs tf2onnx: pip install 'keras-vqvae2[onnx]'."
            ) from error
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} exists: name another folder.")
    check_writable(folder, folder=True)

    def encode(images):
        return vqvae._quantize_levels(images, training=False)[1]

    def decode(*codes):
        return ops.cast(ops.round(vqvae.decode(codes)), "uint8")

    if format == "saved_model":
        archive = keras.export.ExportArchive()
        archive.track(vqvae)
        images = _any(None, None, vqvae.num_channels, dtype="uint8")
        maps = [_any(None, None, dtype="int32")] * vqvae.num_levels
        archive.add_endpoint("encode", encode, [images])
        archive.add_endpoint("decode", decode, maps)
        archive.write_out(folder, verbose=False)
        return
    with atomic_folder(folder) as temporary:
        for name, model in (
            ("encode", _encoder(vqvae, encode)),
            ("decode", _decoder(vqvae, decode)),
        ):
            path = temporary / (name + _ENDINGS[format])
            model.export(path, format=format, verbose=False)


def _any(*shape, dtype):
    return keras.InputSpec(shape=(None, *shape), dtype=dtype)


class _Apply(keras.layers.Layer):
    """A function of a model's, as a layer that holds its weights."""

    def __init__(self, vqvae, function, outputs):
        super().__init__(name=function.__name__)
        self.vqvae = vqvae
        self.function = function
        self.outputs = outputs

    def call(self, *tensors):
        return self.function(*tensors)

    def compute_output_spec(self, *tensors):
        return self.outputs


def _encoder(vqvae, encode):
    images = keras.Input(
        (None, None, vqvae.num_channels), dtype="uint8", name="images"
    )
    maps = [
        keras.KerasTensor((None, None, None), "int32")
        for _ in vqvae.level_names
    ]
    outputs = _Apply(vqvae, encode, maps)(images)
    model = keras.Model(
        images, dict(zip(vqvae.level_names, outputs, strict=True))
    )
    side = vqvae.total_stride
    # The way to ONNX begins with a model that has been called.
    model(np.zeros((1, side, side, vqvae.num_channels), "uint8"))
    return model


def _decoder(vqvae, decode):
    maps = {
        name: keras.Input((None, None), dtype="int32", name=name)
        for name in vqvae.level_names
    }
    images = keras.KerasTensor((None, None, None, vqvae.num_channels), "uint8")
    model = keras.Model(
        maps, {"images": _Apply(vqvae, decode, images)(*maps.values())}
    )
    shapes = vqvae.code_shapes(vqvae.total_stride, vqvae.total_stride)
    model(
        {
            name: np.zeros((1, *shape), "int32")
            for name, shape in zip(maps, shapes, strict=True)
        }
    )
    return model

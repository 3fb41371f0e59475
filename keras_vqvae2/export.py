"""Encoder and decoder for programs without Keras."""

import os
import pathlib

import keras
from keras import ops

from keras_vqvae2.files import check_writable


def export_saved_model(vqvae, folder):
    """Writes a TensorFlow SavedModel by Keras's own `ExportArchive`.

    Args:
        vqvae: `HierarchicalVQVAE`.
        folder: As for `VQVAE2.export`.

    Raises:
        As `VQVAE2.export`.
    """
    folder = pathlib.Path(folder).expanduser()
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "A SavedModel is written on the TensorFlow backend: set "
            "KERAS_BACKEND=tensorflow. It is "
            f"{keras.backend.backend()!r} here."
        )
    if os.path.lexists(folder):
        raise FileExistsError(f"{folder} exists: name another folder.")
    check_writable(folder, folder=True)
    archive = keras.export.ExportArchive()
    archive.track(vqvae)
    archive.add_endpoint(
        "encode",
        lambda images: vqvae._quantize_levels(images, training=False)[1],
        [_any(None, None, vqvae.num_channels, dtype="uint8")],
    )
    archive.add_endpoint(
        "decode",
        lambda *codes: ops.cast(ops.round(vqvae.decode(codes)), "uint8"),
        [_any(None, None, dtype="int32")] * vqvae.num_levels,
    )
    archive.write_out(folder, verbose=False)


def _any(*shape, dtype):
    return keras.InputSpec(shape=(None, *shape), dtype=dtype)

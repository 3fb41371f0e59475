"""Checks of what users pass as images and codes."""

import numbers
import sys
import types
import warnings

import keras
import numpy as np

from keras_vqvae2.arguments import check_integer

# Of images in 0..1, after a resize that overshoots.
_ONE = 1.1
# Batches that are looked at before training, as long as they are black.
_MAX_LOOKS = 16


def is_symbolic(x):
    """Whether `x` is a tensor without a value: inside a traced function."""
    if isinstance(x, keras.KerasTensor):
        return True
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.is_tensor(x) and not hasattr(x, "numpy")
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    return False


def to_array(x, name):
    """`x` itself if it is a tensor or array, else one of its values.

    Raises:
        ValueError: If it is a list of arrays of different shapes.
    """
    tensor = keras.ops.is_tensor(x) or isinstance(x, keras.Variable)
    if isinstance(x, np.ndarray) or tensor and hasattr(x, "__len__"):
        return x
    if tensor:  # a variable
        return keras.ops.convert_to_numpy(x)
    try:
        return np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be an array, or a list of arrays of one shape. "
            f"Received a {type(x).__name__}: {error}"
        ) from error


def check_image_shape(shape, num_channels, multiple=None):
    """Raises ValueError unless a batch shape fits.

    Args:
        shape: Shape of the batch, sizes may be None.
        num_channels: Channels that are expected.
        multiple: If given, height and width must be multiples of it.
    """
    shape = tuple(shape)
    expected = f"(batch, height, width, {num_channels})"
    if len(shape) != 4:
        hint = " For a single image use `image[None]`." * (len(shape) == 3)
        raise ValueError(
            f"Images must have shape {expected}. Received shape {shape}.{hint}"
        )
    if shape[-1] not in (None, num_channels):
        hint = ""
        if shape[1] == num_channels:
            hint = " Channels must come last: use `np.moveaxis(x, 1, -1)`."
        elif shape[-1] == 1:
            hint = " Repeat the grey channel: `np.repeat(x, 3, axis=-1)`."
        elif shape[-1] == 4:
            hint = " Drop the alpha channel: `x[..., :3]`."
        raise ValueError(
            f"Images must have shape {expected}. Received shape {shape}.{hint}"
        )
    if 0 in shape:
        raise ValueError(f"Received images of shape {shape}: nothing in them.")
    if multiple is not None and any(
        size is not None and size % multiple for size in shape[1:3]
    ):
        raise ValueError(
            f"Height and width must be multiples of the model's total stride, "
            f"{multiple}. Received {shape[1]}x{shape[2]}. Crop or pad the "
            "images, or use `VQVAE2.reconstruct`, which takes any size."
        )


def check_pixel_values(images):
    """Raises ValueError or TypeError unless values are pixels in 0..255.

    Args:
        images: Array or tensor with concrete values.
    """
    images = keras.ops.convert_to_numpy(images)
    if images.dtype == np.uint8:
        return
    if not (
        np.issubdtype(images.dtype, np.integer)
        or np.issubdtype(images.dtype, np.floating)
        or images.dtype.name == "bfloat16"
    ):
        raise TypeError(
            "Images must be uint8 or float with pixel values 0..255. Received "
            f"dtype {images.dtype}."
        )
    low, high = float(images.min()), float(images.max())
    received = f"Received {images.dtype} values from {low:.6g} to {high:.6g}"
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(
            f"Images must be finite, with pixel values 0..255. {received}."
        )
    floating = not np.issubdtype(images.dtype, np.integer)
    if floating and -_ONE <= low < 0 and high <= _ONE:
        mend = "127.5 * (x + 1)"
    elif floating and low >= 0 and high <= 1 and _has_fractions(images):
        mend = "255 * x"
    elif low < 0 or high > 255:
        raise ValueError(f"Pixel values must be 0..255. {received}.")
    else:
        if floating:
            _warn_of_small_values(images)
        return
    raise ValueError(
        "Pixel values must be 0..255, as in uint8 images. "
        f"{received}: pass `{mend}` instead."
    )


def _has_fractions(images):
    return bool(np.any(images != np.rint(images)))


def _warn_of_small_values(images):
    # One image by itself may be in 0..1, and a dark one may lie there: whole
    # numbers are those of 0..255, unless no image has any other.
    highest = images.reshape(len(images), -1).max(axis=1)
    small = (highest > 0) & (highest <= _ONE)
    if small.any() and (small.all() or _has_fractions(images[small])):
        warnings.warn(
            f"There are images without a pixel value above {_ONE}: they are "
            "taken for nearly black ones. Pixel values are 0..255; if these "
            "are in 0..1, pass `255 * x`.",
            stacklevel=4,
        )


def check_training_images(x, model):
    """Checks what `fit` was given, as far as a look does not consume it.

    Arrays are checked for shape and pixel range; tf.data and Keras datasets
    and PyTorch's loaders by their first batch that is not black. Generators
    are checked as they are read: see `checked_batches`.

    Raises:
        TypeError: If they are no images at all.
        ValueError: If shape or values do not fit.
    """
    if x is None or isinstance(x, (str, numbers.Number, dict, list, tuple)):
        raise TypeError(
            "`fit` takes images as an array, a tf.data.Dataset, a PyDataset "
            f"or a DataLoader. Received a {type(x).__name__}."
        )
    torch = sys.modules.get("torch")
    if hasattr(x, "element_spec"):  # tf.data.Dataset
        if not hasattr(x, "take"):
            return  # Of `tf.distribute`, for several workers.
        spec = x.element_spec
        spec = spec[0] if isinstance(spec, tuple) else spec
        if not hasattr(spec, "shape"):
            raise ValueError(
                "A dataset must hold images, or (images, labels). Received "
                f"elements of type {type(spec).__name__}: {spec}"
            )
        if spec.shape.rank is not None:
            check_image_shape(
                spec.shape, model.num_channels, model.total_stride
            )
        if spec.dtype.is_floating:
            _look(x.take(_MAX_LOOKS), model)
    elif isinstance(x, keras.utils.PyDataset):
        _look((x[i] for i in range(min(x.num_batches or 1, _MAX_LOOKS))), model)
    elif torch is not None and isinstance(x, torch.utils.data.DataLoader):
        if hasattr(x.dataset, "__getitem__") and hasattr(x.dataset, "__len__"):
            number = min(len(x.dataset), _MAX_LOOKS)
            # The order of the batches must not change.
            with torch.random.fork_rng(devices=()):
                _look(
                    (x.collate_fn([x.dataset[i]]) for i in range(number)), model
                )
    elif isinstance(x, np.ndarray) or keras.ops.is_tensor(x):
        check_image_shape(x.shape, model.num_channels, model.total_stride)
        check_pixel_values(x)


def checked_batches(x, model):
    """`x`; a generator is checked by its first batches as they are read."""
    if not isinstance(x, types.GeneratorType):
        return x

    def batches():
        for i, batch in enumerate(x):
            if i < _MAX_LOOKS:
                _look([batch], model)
            yield batch

    return batches()


def _look(batches, model):
    """Checks batches up to the first that is not black."""
    for batch in batches:
        # TensorFlow's and PyTorch's tensors may not be the backend's.
        images = np.asarray(
            batch[0] if isinstance(batch, (tuple, list)) else batch
        )
        check_image_shape(images.shape, model.num_channels, model.total_stride)
        check_pixel_values(images)
        if images.max() > 0:
            return


def check_image_size(image_size, model):
    """Raises ValueError unless square images of this size can be encoded."""
    check_integer("image_size", image_size)
    if image_size % model.total_stride:
        raise ValueError(
            f"The image size must be a multiple of {model.total_stride}, the "
            f"model's total stride. Received: {image_size}"
        )


def check_levels(levels, model):
    """`levels`, or all of the model's for None.

    Raises:
        ValueError: If the model has not so many.
    """
    if levels is None:
        return model.num_levels
    if levels not in range(1, model.num_levels + 1):
        raise ValueError(
            f"`levels` must be 1 to {model.num_levels} for this model. "
            f"Received: {levels!r}"
        )
    return levels


def check_codes(codes, model, levels):
    """Tuple of int32 tensors, the first `levels` maps of `codes`.

    Raises:
        ValueError: If number, rank, sizes or values do not fit the model.
    """
    names = model.level_names
    if (
        not isinstance(codes, (tuple, list))
        or not levels <= len(codes) <= model.num_levels
    ):
        received = (
            f"{len(codes)} maps"
            if isinstance(codes, (tuple, list))
            else f"a {type(codes).__name__}"
        )
        raise ValueError(
            f"`codes` must be a tuple of {levels} maps, coarse to fine "
            f"({', '.join(names[:levels])}). Received {received}."
        )
    checked = []
    for i, code_map in enumerate(codes[:levels]):
        if not is_symbolic(code_map):
            code_map = to_array(code_map, "codes")
        kind = str(code_map.dtype)
        if "int" not in kind:
            raise ValueError(f"Codes must be integers. Received {kind}.")
        shape = tuple(code_map.shape)
        if len(shape) != 3:
            raise ValueError(
                f"The {names[i]} map must have shape (batch, height, width). "
                f"Received shape {shape}."
            )
        if checked:
            stride = model.strides[model.num_levels - i]
            before = tuple(checked[-1].shape)
            expected = (before[0], *(s and s * stride for s in before[1:]))
            if any(
                a is not None and b is not None and a != b
                for a, b in zip(shape, expected, strict=True)
            ):
                raise ValueError(
                    f"The {names[i]} map must have shape {expected}, "
                    f"{stride} times the size of the {names[i - 1]} map. "
                    f"Received shape {shape}."
                )
        if not is_symbolic(code_map):
            values = keras.ops.convert_to_numpy(code_map)
            if values.size == 0:
                raise ValueError(f"The {names[i]} map is empty: {shape}.")
            low, high = int(values.min()), int(values.max())
            if low < 0 or high >= model.num_embeddings:
                raise ValueError(
                    f"Codes must be in 0..{model.num_embeddings - 1}. The "
                    f"{names[i]} map has values from {low} to {high}."
                )
        checked.append(keras.ops.cast(code_map, "int32"))
    return tuple(checked)

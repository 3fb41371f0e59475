"""Weights by stable names, in safetensors files."""

import numpy as np

from keras_vqvae2.arrays import check_types
from keras_vqvae2.arrays import read_arrays
from keras_vqvae2.arrays import read_header
from keras_vqvae2.arrays import write_arrays
from keras_vqvae2.files import atomic_path

# Far from what training gives; squares of larger values overflow float32 soon.
MAX_WEIGHT = 1e12


def to_numpy(variable):
    """NumPy copy of a Keras variable; a scalar stays one."""
    # Not at the top: who reads code files needs `hub`, but no Keras.
    import keras

    # A copy, since NumPy 2 warns about TensorFlow's variables.
    return np.array(
        keras.ops.convert_to_numpy(keras.ops.copy(variable)), order="C"
    )


def weight_names(model):
    """Names of `model.weights`, the same for every instance and backend.

    For example `encoder_bottom/downsample_0/kernel`: the path of each weight
    without the name of the model itself.
    """
    names = [weight.path.split("/", 1)[1] for weight in model.weights]
    if len(set(names)) != len(names):
        raise ValueError(f"{model.name} has weights of the same name.")
    return names


def save_weights(model, path):
    """Writes a model's weights to a safetensors file, atomically.

    Args:
        model: Keras model.
        path: Path of the file, ending in `.safetensors`.
    """
    save_arrays(weight_arrays(model), path)


def weight_arrays(model):
    """Dict of NumPy copies of a model's weights, by their names."""
    return {
        name: to_numpy(weight)
        for name, weight in zip(weight_names(model), model.weights, strict=True)
    }


def save_arrays(arrays, path):
    """Writes a dict of NumPy arrays to a safetensors file, atomically."""
    with atomic_path(path) as temporary:
        write_arrays(temporary, arrays)


def check_weights(path, types):
    """Raises ValueError unless a file has the arrays of a model.

    Its header alone is read: a model need not be built for it.

    Args:
        path: Path of the file.
        types: Dtype and shape of each weight by name.
    """
    try:
        check_types(read_header(path)[0], types)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def load_weights(model, path):
    """Reads a model's weights from a safetensors file.

    Nothing is assigned unless every name, shape and dtype is the model's, and
    every value one that training can give.

    Args:
        model: Keras model.
        path: Path of the file.

    Raises:
        ValueError: If the file is not a safetensors file, or if a weight is
            missing, unknown, of another shape or dtype, not finite or out of
            bounds.
    """
    if model.variable_dtype != "float32":
        raise ValueError(
            "Saved weights are float32: `dtype` must be None, 'float32', "
            "'mixed_bfloat16' or 'mixed_float16'. Received: "
            f"{model.dtype_policy.name!r}"
        )
    weights = dict(zip(weight_names(model), model.weights, strict=True))
    types = {
        name: (str(weight.dtype), tuple(weight.shape))
        for name, weight in weights.items()
    }
    for name, array in read_weights(path, types).items():
        weights[name].assign(array)


def read_weights(path, types):
    """Dict of the NumPy arrays of a file of weights.

    Args:
        path: Path of the file.
        types: Dtype and shape of each weight by name.

    Raises:
        ValueError: As `load_weights`.
    """
    check_weights(path, types)
    arrays, _ = read_arrays(path)
    for name, array in arrays.items():
        _check_values(path, name, array)
    return arrays


def _check_values(path, name, array):
    least, most = -MAX_WEIGHT, MAX_WEIGHT
    if name.endswith(("/counts", "/initialized")):  # of a quantizer
        least = 0
    # As it is, NaN is refused as well.
    if not (array.min() >= least and array.max() <= most):
        raise ValueError(
            f"{path}: {name} has values that are not finite or not in "
            f"{least:g}..{most:g}: the model would be useless."
        )

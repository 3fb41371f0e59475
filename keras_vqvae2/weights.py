"""Weights by stable names, in safetensors files."""

import numpy as np
import safetensors
import safetensors.numpy

from keras_vqvae2.files import atomic_path


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
        safetensors.numpy.save_file(arrays, temporary)


def load_weights(model, path):
    """Reads a model's weights from a safetensors file.

    Nothing is assigned unless every name, shape and dtype is the model's.

    Args:
        model: Keras model.
        path: Path of the file.

    Raises:
        ValueError: If the file is not a safetensors file, or if a weight is
            missing, unknown, or of another shape or dtype.
    """
    weights = dict(zip(weight_names(model), model.weights, strict=True))
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            found = set(file.keys())
            if found != set(weights):
                missing = sorted(set(weights) - found)
                unknown = sorted(found - set(weights))
                raise ValueError(
                    f"{path} does not fit {type(model).__name__}: "
                    f"missing {missing[:5]}, unknown {unknown[:5]} "
                    f"({len(missing)} and {len(unknown)} in all)."
                )
            arrays = {}
            for name, weight in weights.items():
                array = file.get_tensor(name)
                expected = (tuple(weight.shape), str(weight.dtype))
                if (array.shape, str(array.dtype)) != expected:
                    raise ValueError(
                        f"{path}: {name} must be {expected[1]} of shape "
                        f"{expected[0]}. Received {array.dtype} of shape "
                        f"{array.shape}."
                    )
                arrays[name] = array
    except safetensors.SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file: {error}"
        ) from error
    for name, array in arrays.items():
        weights[name].assign(array)

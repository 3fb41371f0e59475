"""State dicts of PyTorch, read without running anything that is in a file."""

import collections.abc
import os
import pathlib
import reprlib

import numpy as np
import safetensors.numpy

from keras_vqvae2.backend.lazy_module import LazyModule
from keras_vqvae2.weights import MAX_WEIGHT

torch = LazyModule("torch")


def read_state_dict(checkpoint):
    """Tensors by name, and what to call them in errors.

    Args:
        checkpoint: As for `from_pytorch`.

    Returns:
        Tuple of a dict and a string. The tensors are PyTorch's or NumPy's.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file is PyTorch's, which is not installed.
        TypeError: If `checkpoint` is neither a path nor a mapping.
        ValueError: If it holds something else than tensors by name.
    """
    source = "The state dict"
    if isinstance(checkpoint, (str, os.PathLike)):
        source = os.fsdecode(checkpoint)
        checkpoint = _read_file(pathlib.Path(source))
    elif not isinstance(checkpoint, collections.abc.Mapping):
        raise TypeError(
            "`checkpoint` must be the path of a file or a state dict. "
            f"Received: {type(checkpoint).__name__}"
        )
    if not isinstance(checkpoint, collections.abc.Mapping):
        raise ValueError(
            f"{source} must hold a state dict: tensors by name. Received: "
            f"{type(checkpoint).__name__}. {_SAVE}"
        )
    others = [
        name
        for name, tensor in checkpoint.items()
        if not (isinstance(name, str) and hasattr(tensor, "shape"))
    ]
    if others or not checkpoint:
        raise ValueError(
            f"{source} must hold tensors by name alone. Received also: "
            f"{reprlib.repr(others)}. {_SAVE}"
        )
    return _without_wrapper(checkpoint), source


_SAVE = "Save the state dict by itself: `torch.save(model.state_dict(), path)`."


def _without_wrapper(tensors):
    # `DataParallel` and its kin put it before every name.
    prefix = "module."
    if all(name.startswith(prefix) for name in tensors):
        return {name[len(prefix) :]: x for name, x in tensors.items()}
    return dict(tensors)


def _read_file(path):
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix == ".safetensors":
        try:
            return safetensors.numpy.load_file(path)
        # Of a dtype that NumPy lacks it raises other errors.
        except Exception as error:
            raise ValueError(
                f"{path} is not a whole safetensors file of floats: {error}"
            ) from error
    try:
        load = torch.load
    except ImportError as error:
        raise ImportError(
            f"{path} is read by PyTorch, which is not installed: `pip install "
            "torch`. A .safetensors file of the same tensors needs none."
        ) from error
    try:
        return load(path, map_location="cpu", weights_only=True)
    # PyTorch has no common error, and advises to run what is in the file.
    except Exception as error:
        raise ValueError(
            f"{path} is not a file of tensors alone, which `torch.save` wrote, "
            f"or it is damaged ({type(error).__name__}); nothing in it was "
            "run. Priors of rosinality/vq-vae-2-pytorch hold other objects, "
            f"and cannot be imported. {_SAVE}"
        ) from None


def to_float32(name, tensor):
    """NumPy array of a tensor.

    Args:
        name: Name of the tensor, for errors.
        tensor: Tensor of PyTorch, or NumPy array.

    Raises:
        ValueError: If it is not dense, or has other than finite real numbers.
    """
    try:
        if hasattr(tensor, "detach"):
            tensor = tensor.detach().cpu()
            if tensor.is_floating_point():
                tensor = tensor.float()  # NumPy has no bfloat16
            tensor = tensor.numpy()
        dtype = tensor.dtype
        if not (np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"):
            raise TypeError(f"they are of type {dtype}")
        with np.errstate(over="ignore"):
            array = np.asarray(tensor, "float32")
        if not np.abs(array).max(initial=0) <= MAX_WEIGHT:  # nor NaN
            raise ValueError(f"some are no numbers in +-{MAX_WEIGHT:g}")
    # NotImplementedError is PyTorch's, of a tensor without data ("meta").
    except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be a dense tensor of finite real numbers: {error}"
        ) from error
    return array

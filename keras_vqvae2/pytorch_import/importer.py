import reprlib

import numpy as np
from keras import ops

from keras_vqvae2.arguments import check_flag
from keras_vqvae2.data import load_image
from keras_vqvae2.data.image_file import sample_photograph
from keras_vqvae2.hub.vqvae_config import VQVAEConfig
from keras_vqvae2.hub.weight_types import vqvae_types
from keras_vqvae2.images import psnr
from keras_vqvae2.models import HierarchicalVQVAE
from keras_vqvae2.pytorch_import import rosinality
from keras_vqvae2.pytorch_import.state_dict import read_state_dict
from keras_vqvae2.pytorch_import.state_dict import to_float32
from keras_vqvae2.vqvae2 import VQVAE2
from keras_vqvae2.weights import weight_names

# Networks that cannot be imported, by the beginning of a name, and why.
_REFUSED = {
    "codebooks.0.conv_in.": "an autoencoder of vvvm23/vqvae-2, whose network "
    "cannot be written as one of this library: its residual blocks have two "
    "3x3 convolutions with a ReLU after the second and scale their output, its "
    "upsampling of codes ends in a ReLU, and its decoder in a convolution at "
    "the size of the image",
    "vqvaes.": "an autoencoder of vvvm23/vqvae-2, whose network cannot be "
    "written as one of this library: it adds the coarser map to the features, "
    "has SiLUs, and takes the nearest code by angle",
    "horizontal.conv.": "a prior of rosinality/vq-vae-2-pytorch, whose network "
    "is another than `PixelSNAILPrior`: it has one stack of masked "
    "convolutions with weight normalization and an attention in each block. "
    "Train a prior on the codes of the imported autoencoder instead",
    "horz_conv.": "a prior of vvvm23/vqvae-2, whose network is another than "
    "`PixelSNAILPrior`. Train a prior on the codes of an autoencoder of this "
    "library instead",
}
# In dB. Even after a minute of training it is 4 and more, later 7 to 18.
_MIN_DIFFERENCE = 1.0
# From (height, width, in, out) to (out, in, height, width), and for transposed
# convolutions from (height, width, out, in) to (in, out, height, width);
# codebook vectors are columns.
_THEIR_AXES = {4: (3, 2, 0, 1), 2: (1, 0)}


def from_pytorch(checkpoint, *, skip_relu=None, dtype=None):
    """A model from a checkpoint of rosinality/vq-vae-2-pytorch.

    Autoencoders are imported, with every tensor of the checkpoint: they give
    the same codes and images. The sizes are read from the shapes. Priors of
    that library, and checkpoints of others, are refused.

    Until January 2021 the residual blocks of that library began with a ReLU
    that overwrote its input: `vqvae_560.pt` and other checkpoints of that time
    need `skip_relu=True`, which no tensor shows. With the wrong choice, images
    are many dB worse.

    Args:
        checkpoint: Path of a file that `torch.save` wrote, of a
            `.safetensors` file (which needs no PyTorch), or a state dict: a
            dict of tensors or NumPy arrays. Nothing in a file is run.
        skip_relu: As for `layers.ResidualStack`. None takes what
            reconstructs a photograph better, the one that comes with
            matplotlib.
        dtype: Dtype policy of the model, as for `from_pretrained`.

    Returns:
        `VQVAE2`, without priors. Codes are those of PyTorch's model of images
        scaled to [-1, 1], as its training does, but pixel values here are
        0..255.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If the file needs PyTorch, which is not installed.
        TypeError: If `checkpoint` is neither a path nor a dict.
        ValueError: If the file is damaged or holds more than tensors, if a
            tensor is missing, unknown or of another shape, if the network
            cannot be imported, or if the photograph does not tell
            `skip_relu`.

    Example:

    ```python
    model = keras_vqvae2.from_pytorch(folder / "vqvae_560.pt", skip_relu=True)
    model.save_pretrained(folder / "my-model")
    ```
    """
    if skip_relu is not None:
        check_flag("skip_relu", skip_relu)
    tensors, source = read_state_dict(checkpoint)
    shapes = {name: tuple(x.shape) for name, x in tensors.items()}
    config, names = _layout(shapes, source)
    arrays = _arrays(tensors, names, vqvae_types(config), source)

    def build(skip_relu):
        arguments = {**vars(config), "skip_relu": skip_relu}
        vqvae = HierarchicalVQVAE(**arguments, dtype=dtype)
        weights = dict(zip(weight_names(vqvae), vqvae.weights, strict=True))
        for name, array in arrays.items():
            weights[name].assign(array)
        return vqvae

    if skip_relu is None and config.num_residual_blocks:
        return VQVAE2(_better(build(False), build(True)))
    return VQVAE2(build(bool(skip_relu)))


def _layout(shapes, source):
    """`VQVAEConfig` of the model, and names of its weights by tensor."""
    for beginning, what in _REFUSED.items():
        if any(name.startswith(beginning) for name in shapes):
            raise ValueError(f"{source} is of {what}.")
    if not rosinality.is_rosinality(shapes):
        raise ValueError(
            f"{source} is of an unknown network. Autoencoders of "
            "rosinality/vq-vae-2-pytorch can be imported, which have a tensor "
            f"quantize_t.embed. Received: {_some(shapes)}"
        )
    try:
        arguments = rosinality.model_arguments(shapes)
        config = VQVAEConfig(**arguments)
    except ValueError as error:
        raise ValueError(
            f"{source} is no checkpoint of rosinality/vq-vae-2-pytorch that "
            f"can be imported: {error}"
        ) from error
    names = rosinality.weight_names(
        arguments["strides"], arguments["num_residual_blocks"]
    )
    missing, unknown = set(names) - set(shapes), set(shapes) - set(names)
    if missing or unknown:
        raise ValueError(
            f"{source} does not fit a network of rosinality/vq-vae-2-pytorch "
            f"with {arguments}: missing {_some(missing)}, unknown "
            f"{_some(unknown)} ({len(missing)} and {len(unknown)} in all)."
        )
    return config, names


def _some(names):
    return reprlib.repr(sorted(names)[:5])


def _arrays(tensors, names, types, source):
    """NumPy array for each weight by its name."""
    arrays = {}
    for name, tensor in tensors.items():
        _, shape = types[names[name]]
        axes = _THEIR_AXES.get(len(shape), range(len(shape)))
        expected = tuple(shape[axis] for axis in axes)
        if tuple(tensor.shape) != expected:
            raise ValueError(
                f"{source}: {name} must have shape {expected}. Received: "
                f"{tuple(tensor.shape)}"
            )
        array = to_float32(f"{source}: {name}", tensor)
        array = array.transpose(np.argsort(axes))
        arrays[names[name]] = np.ascontiguousarray(array)
    for name in [name for name in arrays if name.endswith("/counts")]:
        if (arrays[name] < 0).any():
            raise ValueError(f"{source}: a cluster_size is negative.")
        if not arrays[name].any():
            # Not trained yet: as a codebook of this library begins.
            quantizer = name.removesuffix("/counts")
            arrays[name] = np.ones_like(arrays[name])
            arrays[f"{quantizer}/sums"] = arrays[f"{quantizer}/embeddings"]
        arrays[name.replace("counts", "initialized")] = np.ones((), "float32")
    return arrays


def _better(*vqvaes):
    """The one of two autoencoders that reconstructs a photograph better."""
    # The face and what is around it, at the size that most were trained on.
    photograph = load_image(sample_photograph())[None, :256, 128:384]
    num_channels = vqvaes[0].num_channels
    if num_channels == 1:
        photograph = photograph.mean(axis=-1, keepdims=True)
    scores = []
    if num_channels in (1, 3):
        for vqvae in vqvaes:
            reconstruction, _ = vqvae(photograph)
            pixels = np.clip(ops.convert_to_numpy(reconstruction), 0, 255)
            scores.append(psnr(photograph, pixels)[0])
    if not scores or abs(scores[0] - scores[1]) < _MIN_DIFFERENCE:
        raise ValueError(
            "No photograph tells whether the residual blocks of the checkpoint "
            "began with an in-place ReLU, as those of "
            "rosinality/vq-vae-2-pytorch did until January 2021: say so by "
            "`skip_relu`."
        )
    return vqvaes[int(np.argmax(scores))]

"""Independent NumPy (float64) computations that the tests compare with."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def conv(x, weights, stride=1):
    """Convolution with padding 1, none for a 1x1 kernel."""
    kernel, bias = weights  # (size, size, in, out)
    size = kernel.shape[0]
    pad = 0 if size == 1 else 1
    x = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
    height = (x.shape[1] - size) // stride + 1
    width = (x.shape[2] - size) // stride + 1
    y = np.zeros((len(x), height, width, kernel.shape[3])) + bias
    for i in range(size):
        for j in range(size):
            rows = slice(i, i + stride * height, stride)
            columns = slice(j, j + stride * width, stride)
            y += x[:, rows, columns][:, :height, :width] @ kernel[i, j]
    return y


def transposed_conv(x, weights):
    """Transposed 4x4 convolution, stride 2, padding 1: twice the size."""
    kernel, bias = weights  # (4, 4, out, in)
    batch, height, width, _ = x.shape
    y = np.zeros((batch, 2 * height + 2, 2 * width + 2, kernel.shape[2]))
    for i in range(4):
        for j in range(4):
            rows = slice(i, i + 2 * height, 2)
            columns = slice(j, j + 2 * width, 2)
            y[:, rows, columns] += x @ kernel[i, j].T
    return y[:, 1:-1, 1:-1] + bias


def nearest(vectors, codebook):
    """Index of the nearest code, equation 1."""
    differences = vectors[..., None, :] - codebook
    return np.argmin(np.sum(differences**2, axis=-1), axis=-1)


class Reference:
    """The two-level network of VQ-VAE-2 with strides 4 and 2.

    Args:
        weights: Arrays by the stable names of `weights.weight_names`.
    """

    def __init__(self, weights):
        self.weights = {k: np.float64(v) for k, v in weights.items()}

    def layer(self, name):
        return self.weights[f"{name}/kernel"], self.weights[f"{name}/bias"]

    def residual_stack(self, x, name):
        block = 0
        while f"{name}/block_{block}_conv3/kernel" in self.weights:
            y = conv(relu(x), self.layer(f"{name}/block_{block}_conv3"))
            x = x + conv(relu(y), self.layer(f"{name}/block_{block}_conv1"))
            block += 1
        return relu(x)

    def encoder(self, x, name, halvings):
        for i in range(halvings):
            x = relu(conv(x, self.layer(f"{name}/downsample_{i}"), stride=2))
        x = conv(x, self.layer(f"{name}/conv"))
        return self.residual_stack(x, f"{name}/residual_stack")

    def decoder(self, x, name, doublings):
        x = conv(x, self.layer(f"{name}/conv"))
        x = self.residual_stack(x, f"{name}/residual_stack")
        for i in range(doublings):
            x = transposed_conv(x, self.layer(f"{name}/upsample_{i}"))
            if i < doublings - 1:
                x = relu(x)
        return x

    def __call__(self, images, fixed=None):
        """Reconstruction in [-1, 1], inputs and codes of both quantizers.

        Args:
            images: Array `(batch, height, width, 3)`, pixels 0..255.
            fixed: `(inputs, codes)` of an earlier call. The quantizers then
                add the change of their input to the codes' vectors, which is
                the function whose true gradient is the straight-through one.
        """
        x = np.float64(images) / 127.5 - 1
        bottom = self.encoder(x, "encoder_bottom", 2)
        top = self.encoder(bottom, "encoder_top", 1)
        inputs, codes = [], []

        def quantize(x, level, name):
            codebook = self.weights[f"quantizer_{name}/embeddings"]
            x = conv(x, self.layer(f"projection_{name}"))
            inputs.append(x)
            codes.append(nearest(x, codebook) if not fixed else fixed[1][level])
            quantized = codebook[codes[-1]]
            return quantized if not fixed else quantized + x - fixed[0][level]

        quantized_top = quantize(top, 0, "top")
        decoded_top = self.decoder(quantized_top, "decoder_top", 1)
        joined = np.concatenate([decoded_top, bottom], axis=-1)
        quantized_bottom = quantize(joined, 1, "bottom")
        upsampled = transposed_conv(quantized_top, self.layer("upsample_top_0"))
        joined = np.concatenate([upsampled, quantized_bottom], axis=-1)
        return self.decoder(joined, "decoder_bottom", 2), inputs, codes

    def loss(self, images, beta, fixed):
        """Equation 2 with a codebook that moves by itself."""
        reconstruction, inputs, codes = self(images, fixed)
        loss = np.mean((reconstruction - (images / 127.5 - 1)) ** 2)
        for x, c, name in zip(inputs, codes, ("top", "bottom"), strict=True):
            codebook = self.weights[f"quantizer_{name}/embeddings"]
            loss += beta * np.mean((x - codebook[c]) ** 2)
        return loss

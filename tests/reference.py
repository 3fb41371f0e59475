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

    def residual_stack(self, x, name, skip_relu=False):
        block = 0
        while f"{name}/block_{block}_conv3/kernel" in self.weights:
            x = relu(x) if skip_relu else x
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


class ReferencePrior(Reference):
    """A `PixelSNAILPrior`, one position after another.

    Args:
        weights: As for `Reference`.
        num_heads: Heads of each attention layer.
        attention_after: Numbers of the blocks that one follows.
    """

    def __init__(self, weights, num_heads, attention_after):
        super().__init__(weights)
        self.num_heads = num_heads
        self.attention_after = attention_after

    def dense(self, x, name):
        kernel, bias = self.layer(name)
        return x @ kernel.reshape(kernel.shape[-2:]) + bias

    def gate(self, x):
        features, gates = np.split(x, 2)
        return np.tanh(features) / (1 + np.exp(-gates))

    def block(self, vertical, horizontal, number, label, condition):
        """Maps `(height, width, channels)` after a gated block."""
        name = f"block_{number}"
        height, width, _ = vertical.shape
        kernel, bias = self.layer(f"{name}/vertical_conv")
        side = kernel.shape[1] // 2
        added = np.zeros((height, width, 2, len(bias)))
        if condition is not None:
            kernel_c = self.weights[f"{name}/condition_projection/kernel"][0, 0]
            added += (condition @ kernel_c).reshape(added.shape)
        if label is not None:
            vector = self.weights["class_embedding/embeddings"][label]
            kernel_c = self.weights[f"{name}/class_projection/kernel"]
            added += (vector @ kernel_c).reshape(2, -1)

        def before(x, row, column):
            """The pixel, zeros outside of the map."""
            inside = 0 <= row < height and 0 <= column < width
            return x[row, column] if inside else np.zeros(x.shape[-1])

        own = number > 0  # mask type B sees itself
        new_vertical = vertical * own
        for r in range(height):
            for c in range(width):
                x = bias + added[r, c, 0]
                for i in range(len(kernel)):
                    for j in range(-side, side + 1):
                        above = before(vertical, r - side + i, c + j)
                        x = x + above @ kernel[i, side + j]
                new_vertical[r, c] += self.dense(
                    self.gate(x), f"{name}/vertical_projection"
                )
        kernel, bias = self.layer(f"{name}/horizontal_conv")
        across = self.weights[f"{name}/vertical_to_horizontal/kernel"][0, 0]
        new_horizontal = horizontal * own
        for r in range(height):
            for c in range(width):
                x = bias + added[r, c, 1] + new_vertical[r, c] @ across
                for j in range(kernel.shape[1]):
                    left = before(horizontal, r, c - side + j)
                    x = x + left @ kernel[0, j]
                new_horizontal[r, c] += self.dense(
                    self.gate(x), f"{name}/horizontal_projection"
                )
        return new_vertical, new_horizontal

    def attention(self, horizontal, embedded, number):
        """What the earlier positions tell each one."""
        name = f"attention_{number}"
        height, width, _ = horizontal.shape
        place = (
            self.weights[f"{name}/row_embedding"]
            + self.weights[f"{name}/column_embedding"]
        ).reshape(height * width, -1)
        dim = place.shape[-1] // 2
        queries = self.dense(horizontal, f"{name}/query").reshape(-1, dim)
        queries = queries + place[:, :dim]
        keys = np.concatenate([horizontal, embedded], axis=-1)
        keys = self.dense(keys, f"{name}/key_value").reshape(-1, 2 * dim)
        keys, values = keys[:, :dim] + place[:, dim:], keys[:, dim:]
        result = np.zeros((height * width, dim))
        for head in np.split(np.arange(dim), self.num_heads):
            for i in range(1, height * width):
                scores = keys[:i, head] @ queries[i, head] / len(head) ** 0.5
                scores = np.exp(scores - scores.max())
                result[i, head] = scores @ values[:i, head] / scores.sum()
        result = result.reshape(height, width, dim)
        return self.dense(result, f"attention_projection_{number}")

    def condition(self, coarser):
        """The coarser map at the size of the own one."""
        x = self.weights["condition_embedding_0/embeddings"][coarser][None]
        x = self.residual_stack(x, "condition_stack")
        return transposed_conv(x, self.layer("condition_upsample_0_0"))[0]

    def __call__(self, codes, label=None, coarser=None):
        """Logits `(height, width, num_embeddings)` of one map of codes."""
        embedded = self.weights["code_embedding/embeddings"][codes]
        condition = None if coarser is None else self.condition(coarser)
        vertical = horizontal = embedded
        number = 0
        while f"block_{number}/vertical_conv/kernel" in self.weights:
            vertical, horizontal = self.block(
                vertical, horizontal, number, label, condition
            )
            if number == 0:
                rows = self.weights["row_embedding/embeddings"]
                columns = self.weights["column_embedding/embeddings"]
                place = rows[:, None] + columns
                vertical, horizontal = vertical + place, horizontal + place
            if number in self.attention_after:
                layer = self.attention_after.index(number)
                horizontal = horizontal + self.attention(
                    horizontal, embedded, layer
                )
            number += 1
        x, number = horizontal, 0
        while f"output_{number}_hidden/kernel" in self.weights:
            y = relu(self.dense(relu(x), f"output_{number}_residual"))
            x = x + self.dense(y, f"output_{number}_hidden")
            number += 1
        return self.dense(relu(x), "logits")

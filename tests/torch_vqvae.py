"""A PyTorch network with the names and layout of rosinality's VQVAE."""

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, dim, inner_dim, inplace):
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(inplace),
            nn.Conv2d(dim, inner_dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(inner_dim, dim, 1),
        )

    def forward(self, x):
        change = self.conv(x)
        return x + change  # of what the first ReLU has left of x


class Blocks(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.blocks = nn.Sequential(*layers)

    def forward(self, x):
        return self.blocks(x)


class Quantize(nn.Module):
    def __init__(self, dim, number):
        super().__init__()
        self.register_buffer("embed", torch.randn(dim, number))
        self.register_buffer("cluster_size", torch.rand(number))
        self.register_buffer("embed_avg", self.embed * self.cluster_size)

    def codes(self, x):
        vectors = x.movedim(1, -1).double()  # (B, H, W, D)
        distances = vectors[..., None] - self.embed.double()
        return distances.square().sum(-2).argmin(-1)

    def lookup(self, codes):
        return self.embed.T[codes].movedim(-1, 1)


def strided(conv, dims):
    return [
        layer
        for a, b in zip(dims, dims[1:], strict=False)
        for layer in (conv(a, b, 4, stride=2, padding=1), nn.ReLU())
    ]


class TorchVQVAE(nn.Module):
    """Two levels; every weight is random and matters.

    Args:
        inplace: Whether residual blocks begin with an in-place ReLU.
        strides: 4 or 2 for the bottom level, and 2.
        sizes: Channels of images, of the network, of a block's inside and of
            the codebook, and the number of codes and of blocks.
    """

    def __init__(self, inplace, strides=(4, 2), sizes=(3, 8, 6, 4, 16, 2)):
        super().__init__()
        channels, dim, inner_dim, code_dim, number, num_blocks = sizes

        def blocks():
            layers = [Block(dim, inner_dim, inplace) for _ in range(num_blocks)]
            return [*layers, nn.ReLU()]

        def encoder(inputs, stride):
            dims = (
                [inputs, dim // 2, dim] if stride == 4 else [inputs, dim // 2]
            )
            conv = nn.Conv2d(dims[-1], dim, 3, padding=1)
            return Blocks(*strided(nn.Conv2d, dims), conv, *blocks())

        def decoder(inputs, outputs, stride):
            dims = [dim, dim // 2, outputs] if stride == 4 else [dim, outputs]
            conv = nn.Conv2d(inputs, dim, 3, padding=1)
            doubling = strided(nn.ConvTranspose2d, dims)[:-1]
            return Blocks(conv, *blocks(), *doubling)

        self.enc_b = encoder(channels, strides[0])
        self.enc_t = encoder(dim, strides[1])
        self.quantize_conv_t = nn.Conv2d(dim, code_dim, 1)
        self.quantize_t = Quantize(code_dim, number)
        self.dec_t = decoder(code_dim, code_dim, strides[1])
        self.quantize_conv_b = nn.Conv2d(code_dim + dim, code_dim, 1)
        self.quantize_b = Quantize(code_dim, number)
        self.upsample_t = nn.ConvTranspose2d(
            code_dim, code_dim, 4, stride=2, padding=1
        )
        self.dec = decoder(2 * code_dim, channels, strides[0])
        generator = torch.Generator().manual_seed(0)
        for weight in self.parameters():
            fan_in = max(1, weight[0].numel())
            scale = 2 * fan_in**-0.5 if weight.ndim > 1 else 0.1
            nn.init.normal_(weight, std=scale, generator=generator)
        for quantizer in (self.quantize_t, self.quantize_b):
            quantizer.embed.normal_(generator=generator)

    @torch.inference_mode()
    def forward(self, images):
        """Codes, coarse to fine, and images, from pixels as ours."""
        x = torch.tensor(images).float().movedim(-1, 1) / 127.5 - 1
        bottom = self.enc_b(x)
        top_codes = self.quantize_t.codes(
            self.quantize_conv_t(self.enc_t(bottom))
        )
        top = self.quantize_t.lookup(top_codes)
        joined = torch.cat([self.dec_t(top), bottom], 1)
        bottom_codes = self.quantize_b.codes(self.quantize_conv_b(joined))
        quantized = self.quantize_b.lookup(bottom_codes)
        x = self.dec(torch.cat([self.upsample_t(top), quantized], 1))
        codes = [codes.numpy() for codes in (top_codes, bottom_codes)]
        return codes, ((x + 1) * 127.5).movedim(1, -1)

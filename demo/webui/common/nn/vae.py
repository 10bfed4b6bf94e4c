"""Autoencoders between images and latents an eighth of their size. Which one is used stands in the checkpoint.

``PatchAutoencoder`` needs no training: three latent channels are the mean colour of an 8x8 patch, the fourth its
left-right contrast. Its decoder is a sine: whatever a random UNet makes, no part of the image saturates, so a change
of any step shows. ``ConvAutoencoder`` is the same interface with weights to learn.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACTOR = 8
LATENT_CHANNELS = 4


class PatchAutoencoder(nn.Module):
    """Fixed weights, registered as parameters so that they are moved, cast and saved like a real autoencoder's."""

    def __init__(self, scale: float = 0.1) -> None:
        super().__init__()
        down = torch.zeros(LATENT_CHANNELS, 3, FACTOR, FACTOR)
        for channel in range(3):
            down[channel, channel] = 1.0 / FACTOR**2
        down[3, :, :, : FACTOR // 2] = 1.0 / (3 * FACTOR**2)
        down[3, :, :, FACTOR // 2 :] = -1.0 / (3 * FACTOR**2)
        self.scale_factor = scale
        self.encoder = nn.Conv2d(3, LATENT_CHANNELS, FACTOR, stride=FACTOR, bias=False)
        self.decoder = nn.Conv2d(LATENT_CHANNELS, 3, 1, bias=False)
        self.encoder.weight = nn.Parameter(down, requires_grad=False)
        self.decoder.weight = nn.Parameter(torch.eye(4)[:3, :, None, None].contiguous(), requires_grad=False)
        self.decoder.weight.data[:, 3] = 0.15

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.to(self.encoder.weight.dtype)).clamp(-1.0, 1.0).asin() * self.scale_factor

    def decode(self, z: Tensor) -> Tensor:
        small = self.decoder(z.to(self.decoder.weight.dtype) / self.scale_factor).sin()
        return F.interpolate(small, scale_factor=FACTOR, mode="bilinear", align_corners=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))


class ConvAutoencoder(nn.Module):
    """Halved by rearranging pixels, then by two strided convolutions, and back; ``widths`` from the finest level on."""

    def __init__(self, widths: tuple[int, int, int] = (32, 48, 56), scale: float = 1.0) -> None:
        super().__init__()
        self.scale_factor = scale
        fine, middle, coarse = widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2), nn.Conv2d(12, fine, 3, padding=1), nn.SiLU(),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1), Residual(middle), nn.SiLU(),
            nn.Conv2d(middle, coarse, 3, stride=2, padding=1), Residual(coarse), nn.SiLU(),
            nn.Conv2d(coarse, LATENT_CHANNELS, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(LATENT_CHANNELS, coarse, 3, padding=1), Residual(coarse), Residual(coarse), nn.SiLU(),
            nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(coarse, middle, 3, padding=1), Residual(middle),
            nn.SiLU(), nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(middle, fine, 3, padding=1),
            Residual(fine), nn.SiLU(), nn.Conv2d(fine, 12, 3, padding=1), nn.PixelShuffle(2),
        )

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x.to(self.encoder[1].weight.dtype)) * self.scale_factor

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z.to(self.decoder[0].weight.dtype) / self.scale_factor).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))


KINDS: dict[str, type[nn.Module]] = {"patch": PatchAutoencoder, "conv": ConvAutoencoder}


def build_vae(config: dict[str, Any]) -> nn.Module:
    """``config`` names the kind and carries its keyword arguments: ``{"kind": "conv", "scale": 0.5}``."""
    options = dict(config)
    return KINDS[options.pop("kind", "patch")](**options)

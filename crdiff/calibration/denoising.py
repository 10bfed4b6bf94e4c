"""The denoising loss of a UNet, by which the gradients of a calibration go: a model's own images, noised to times at
which it has drawn them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Denoising:
    """What a UNet has been trained for.

    Attributes:
        sigmas: (times,) float32, the noise at each time, beside an image of variance 1.
        velocity: whether it predicts v, else the noise.
    """

    sigmas: torch.Tensor
    velocity: bool = False

    @classmethod
    def of_signal(cls, signal: torch.Tensor, *, velocity: bool = False) -> Denoising:
        """By ``alphas_cumprod``, the share of the image in the variance at each time."""
        return cls(((1.0 - signal.float()) / signal.float()).sqrt(), velocity)

    def sigma(self, times: torch.Tensor) -> torch.Tensor:
        """The noise at times, which need not be whole: interpolated in its logarithm, as samplers do.

        Args:
            times: (rows,).
        """
        known = self.sigmas.to(times.device).clamp_min(_LEAST).log()
        given = times.float().clamp(0, len(known) - 1)
        return torch.lerp(known[given.floor().long()], known[given.ceil().long()], given.frac()).exp()


@dataclass(frozen=True)
class UNetCall:
    """A call of a UNet while it drew.

    Attributes:
        args: its input, (rows, channels, height, width), first, and the times, (rows,), second unless named.
        kwargs: the others, such as the times and the prompts.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def loss(self, unet: Callable[..., Any], images: torch.Tensor, denoising: Denoising, seed: int) -> torch.Tensor:
        """The squared error of what the UNet predicts of images noised to the call's times, summed and in float32.

        The sum, not the mean: gradients of that vanish in half precision.

        Args:
            unet: the model; its prediction, or the first of what it answers.
            images: (n, channels, height, width) latents; each prompt of the call has all of them.
            denoising: what the UNet has been trained for.
            seed: of the noise.
        """
        x = self.args[0]
        times = self.args[1] if len(self.args) > 1 else self.kwargs["timesteps"]
        images = images.to(x.device).float().repeat(len(x) // len(images), 1, 1, 1)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed)).to(images)
        sigma = denoising.sigma(times).view(-1, 1, 1, 1)
        signal, noisy = (1.0 + sigma**2) ** -0.5, sigma * (1.0 + sigma**2) ** -0.5
        # Inpainting models see the mask and its image in channels of their own.
        given = torch.cat([(signal * images + noisy * noise).to(x), x[:, images.shape[1] :]], 1)
        wanted = signal * noise - noisy * images if denoising.velocity else noise
        found = unet(given, *self.args[1:], **self.kwargs)
        prediction = found if isinstance(found, torch.Tensor) else found[0]
        return (prediction.float() - wanted).square().sum()


_LEAST = 1e-10

"""The published UNets at any width, with random weights, and the inputs of their denoising steps."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from crdiff.bench.unet import UNetModel, UNetShape
from crdiff.errors import SettingsError
from crdiff.models.unet import SD15, SDXL
from crdiff.presets.size import Size

_Module = TypeVar("_Module", bound=nn.Module)

_TOKENS = 77
_TRAINED_STEPS = 1000


SHAPES = {
    SD15: UNetShape(320, (1, 2, 4, 4), (1, 1, 1, 0), 1, context_dim=768, heads=8),
    SDXL: UNetShape(
        320, (1, 2, 4), (0, 2, 10), 10, context_dim=2048, use_linear_in_transformer=True, adm_in_channels=2816
    ),
}


class StepInputs(NamedTuple):
    """The arguments of one UNet call with classifier-free guidance (batch 2).

    Attributes:
        x: noisy latents (2, 4, height / 8, width / 8).
        timesteps: (2,), in [0, 1000).
        context: text encodings (2, 77, context_dim), another one in each half.
        y: size and pooled text (2, adm_in_channels), None for models without.
    """

    x: torch.Tensor
    timesteps: torch.Tensor
    context: torch.Tensor
    y: torch.Tensor | None

    def doubled(self) -> StepInputs:
        """All rows twice, in their order."""
        y = None if self.y is None else self.y.repeat(2, 1)
        return StepInputs(self.x.repeat(2, 1, 1, 1), self.timesteps.repeat(2), self.context.repeat(2, 1, 1), y)


def check_size(size: Size) -> Size:
    """``size`` if it can be drawn.

    Raises:
        SettingsError: a side is no multiple of 8, or below 64.
    """
    if size.height % 8 or size.width % 8 or min(size.height, size.width) < 64:
        raise SettingsError(f"Height and width must be multiples of 8 from 64 on, not {size}.")
    return size


def make_steps(
    shape: UNetShape, size: Size, steps: int, device: torch.device, dtype: torch.dtype, seed: int = 1
) -> tuple[StepInputs, ...]:
    """The inputs of ``steps`` steps from noise towards a smooth image, equal in every run."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size.height // 8, size.width // 8
    noise = torch.randn(1, 4, height, width, generator=generator)
    coarse = torch.randn(1, 4, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    context = torch.randn(2, _TOKENS, shape.context_dim, generator=generator).to(device, dtype)
    y = None
    if shape.adm_in_channels is not None:
        y = torch.randn(2, shape.adm_in_channels, generator=generator).to(device, dtype)
    found = []
    for step in range(steps):
        left = 1.0 - step / steps
        x = (left * noise + (1.0 - left * left) ** 0.5 * image).repeat(2, 1, 1, 1)
        timesteps = torch.full((2,), left * (_TRAINED_STEPS - 1))
        found.append(StepInputs(x.to(device, dtype), timesteps.to(device), context, y))
    return tuple(found)


def build_unet(shape: UNetShape, device: torch.device, dtype: torch.dtype, seed: int = 0) -> UNetModel:
    """A UNet with normally distributed weights, the same for the same arguments; on ``meta`` without any."""
    with torch.device("meta"):
        unet = UNetModel(shape).to(dtype).eval().requires_grad_(False)
    if device.type == "meta":
        return unet
    generator = torch.Generator(device=device).manual_seed(seed)
    for module in unet.modules():
        # ``to_empty`` would import sympy, which takes longer than the rest of this.
        for name, parameter in module.named_parameters(recurse=False):
            empty = torch.empty(parameter.shape, device=device, dtype=parameter.dtype)
            setattr(module, name, nn.Parameter(empty, requires_grad=False))
        weight: Any = getattr(module, "weight", None)
        bias: Any = getattr(module, "bias", None)
        if weight is None:
            continue
        if isinstance(module, (nn.GroupNorm, nn.LayerNorm)):
            weight.fill_(1.0)
        else:
            weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
        if bias is not None:
            bias.zero_()
    return unet


def with_the_same_weights(module: _Module) -> _Module:
    """Modules of their own around the very same parameters, so that what is hung onto them reaches nobody else.

    ``copy.deepcopy`` with the parameters in its memo does the same in ten times the time.
    """
    twin = copy.copy(module)
    for name, value in vars(module).items():
        if isinstance(value, dict):  # parameters, buffers, hooks
            setattr(twin, name, value.copy())
    for name, child in module.named_children():
        setattr(twin, name, with_the_same_weights(child))
    return twin

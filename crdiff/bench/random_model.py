"""The published models at any width, with random weights, and the inputs of their denoising steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from crdiff.bench.transformer import FluxModel, SD3Model, TransformerShape
from crdiff.bench.unet import UNetModel, UNetShape
from crdiff.errors import SettingsError
from crdiff.models.flux import FLUX
from crdiff.models.sd3 import SD3
from crdiff.models.unet import SD15, SDXL
from crdiff.presets.size import Size

_Module = TypeVar("_Module", bound=nn.Module)

_TRAINED_STEPS = 1000


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes:
        shape: its layers' widths and number.
        make: makes it of a shape.
        scale: a share of its width that a processor computes in little time.
        rows: of a call, 2 with classifier-free guidance.
        tokens: of the text encoding.
        multiple: pixels that sides of images are multiples of.
    """

    shape: UNetShape | TransformerShape
    make: Callable[[Any], nn.Module]
    scale: float = 0.25
    rows: int = 2
    tokens: int = 77
    multiple: int = 8

    def scaled(self, scale: float) -> Published:
        """The same layout, with every width multiplied by ``scale`` as far as that goes."""
        return replace(self, shape=self.shape.scaled(scale))


PUBLISHED = {
    SD15: Published(UNetShape(320, (1, 2, 4, 4), (1, 1, 1, 0), 1, context_dim=768, heads=8), UNetModel),
    SDXL: Published(
        UNetShape(
            320, (1, 2, 4), (0, 2, 10), 10, context_dim=2048, use_linear_in_transformer=True, adm_in_channels=2816
        ),
        UNetModel,
    ),
    SD3: Published(TransformerShape(64, 24, 24, 0, 4096, 2048), SD3Model, scale=1 / 12, tokens=154, multiple=16),
    FLUX: Published(
        TransformerShape(128, 24, 19, 38, 4096, 768), FluxModel, scale=1 / 24, rows=1, tokens=256, multiple=16
    ),
}
"""SD1.5, SDXL, SD3 Medium and Flux.1; the latter's guidance is distilled."""


class StepInputs(NamedTuple):
    """The arguments of one call of the model.

    Attributes:
        x: noisy latents (rows, channels, height / 8, width / 8).
        timesteps: (rows,), in [0, 1000).
        context: text encodings (rows, tokens, context_dim), another one in each row.
        y: size or pooled text, and both (rows, adm_in_channels); None for models without.
    """

    x: torch.Tensor
    timesteps: torch.Tensor
    context: torch.Tensor
    y: torch.Tensor | None

    def doubled(self) -> StepInputs:
        """All rows twice, in their order."""
        y = None if self.y is None else self.y.repeat(2, 1)
        return StepInputs(self.x.repeat(2, 1, 1, 1), self.timesteps.repeat(2), self.context.repeat(2, 1, 1), y)


def check_size(size: Size, multiple: int) -> Size:
    """``size`` if it can be drawn.

    Raises:
        SettingsError: a side is no multiple of so many pixels, or below 64.
    """
    if size.height % multiple or size.width % multiple or min(size.height, size.width) < 64:
        raise SettingsError(f"Height and width must be multiples of {multiple} from 64 on, not {size}.")
    return size


def make_steps(
    published: Published, size: Size, steps: int, device: torch.device, dtype: torch.dtype, seed: int = 1
) -> tuple[StepInputs, ...]:
    """The inputs of ``steps`` steps from noise towards a smooth image, equal in every run."""
    generator, shape, rows = torch.Generator().manual_seed(seed), published.shape, published.rows
    height, width = size.height // 8, size.width // 8
    noise = torch.randn(1, shape.in_channels, height, width, generator=generator)
    coarse = torch.randn(1, shape.in_channels, 4, 4, generator=generator)
    image = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    context = torch.randn(rows, published.tokens, shape.context_dim, generator=generator).to(device, dtype)
    y = None
    if shape.adm_in_channels is not None:
        y = torch.randn(rows, shape.adm_in_channels, generator=generator).to(device, dtype)
    found = []
    for step in range(steps):
        left = 1.0 - step / steps
        x = (left * noise + (1.0 - left * left) ** 0.5 * image).repeat(rows, 1, 1, 1)
        timesteps = torch.full((rows,), left * (_TRAINED_STEPS - 1))
        found.append(StepInputs(x.to(device, dtype), timesteps.to(device), context, y))
    return tuple(found)


def build_model(published: Published, device: torch.device, dtype: torch.dtype, seed: int = 0) -> nn.Module:
    """A model with normally distributed weights, the same for the same arguments; on ``meta`` without any."""
    with torch.device("meta"):
        model = published.make(published.shape).to(dtype).eval().requires_grad_(False)
    if device.type == "meta":
        return model
    generator = torch.Generator(device=device).manual_seed(seed)
    for module in model.modules():
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
    return model


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

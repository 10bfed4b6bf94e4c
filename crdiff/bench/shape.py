"""The shapes of the published UNets, at any width, and the inputs of their denoising steps."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from crdiff.errors import SettingsError
from crdiff.models.unet import SD15, SDXL
from crdiff.presets.size import Size

_TOKENS = 77
_TRAINED_STEPS = 1000


@dataclass(frozen=True)
class UNetShape:
    """What decides a UNet's layers; the names are those of the LDM configurations.

    Attributes:
        model_channels: width of the finest level.
        channel_mult: width of each level, in ``model_channels``, finest first.
        transformer_depth: transformer blocks in each spatial transformer of a level; 0 for none.
        middle_depth: the same for the middle block.
        context_dim: width of the text encoding.
        heads: attention heads, where all levels have as many; else None, and ``head_channels`` decides.
        head_channels: channels of a head.
        linear_projections: whether a spatial transformer's ``proj_in`` and ``proj_out`` are Linears.
        adm_channels: width of the vector of size and pooled text; None for models without one.
    """

    model_channels: int
    channel_mult: tuple[int, ...]
    transformer_depth: tuple[int, ...]
    middle_depth: int
    context_dim: int
    heads: int | None
    head_channels: int
    linear_projections: bool
    adm_channels: int | None

    def scaled(self, scale: float) -> UNetShape:
        """The same layout with every width multiplied by ``scale`` (to multiples of 8), the text's too.

        What share of the operations is pruned, or depends on the text alone, then stays about the same.

        Raises:
            SettingsError: ``scale`` is not in (0, 1].
        """
        if not 0.0 < scale <= 1.0:
            raise SettingsError(f"The scale must lie in (0, 1], not {scale:g}.")

        def narrow(width: int) -> int:
            return max(8, round(width * scale / 8) * 8)

        return replace(
            self,
            model_channels=narrow(self.model_channels),
            context_dim=narrow(self.context_dim),
            heads=None if self.heads is None else max(1, round(self.heads * scale)),
            adm_channels=None if self.adm_channels is None else narrow(self.adm_channels),
        )

    def heads_at(self, channels: int) -> int:
        """Number of heads of an attention layer: as in the originals, fewer where the width does not divide."""
        wanted = self.heads or max(1, channels // self.head_channels)
        return next(heads for heads in range(wanted, 0, -1) if channels % heads == 0)


SHAPES = {
    SD15: UNetShape(320, (1, 2, 4, 4), (1, 1, 1, 0), 1, 768, 8, 40, False, None),
    SDXL: UNetShape(320, (1, 2, 4), (0, 2, 10), 10, 2048, None, 64, True, 2816),
}


@dataclass(frozen=True)
class StepInputs:
    """The inputs of one UNet call with classifier-free guidance (batch 2).

    Attributes:
        x: noisy latents (2, 4, height / 8, width / 8).
        timesteps: (2,), in [0, 1000).
        context: text encodings (2, 77, context_dim), another one in each half.
        y: size and pooled text (2, adm_channels), None for models without.
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
    """The inputs of ``steps`` steps from noise towards a smooth picture, equal in every run."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size.height // 8, size.width // 8
    noise = torch.randn(1, 4, height, width, generator=generator)
    coarse = torch.randn(1, 4, 4, 4, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    context = torch.randn(2, _TOKENS, shape.context_dim, generator=generator).to(device, dtype)
    y = None
    if shape.adm_channels is not None:
        y = torch.randn(2, shape.adm_channels, generator=generator).to(device, dtype)
    found = []
    for step in range(steps):
        left = 1.0 - step / steps
        x = (left * noise + (1.0 - left * left) ** 0.5 * picture).repeat(2, 1, 1, 1)
        timesteps = torch.full((2,), left * (_TRAINED_STEPS - 1))
        found.append(StepInputs(x.to(device, dtype), timesteps.to(device), context, y))
    return tuple(found)

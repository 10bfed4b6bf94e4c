"""What is trained, on how much, and how long."""

from __future__ import annotations

from dataclasses import dataclass

from common.checkpoints import ModelConfig
from common.nn.text import TextConfig
from common.nn.unet import UNetShape

# As SDXL: no transformer at full resolution, deep stacks where it is low (there 0, 2 and 10 layers a block).
UNET = UNetShape(
    model_channels=32,
    channel_mult=(1, 2, 3),
    transformer_depth=(0, 2, 6),
    transformer_depth_middle=6,
    num_res_blocks=1,
    context_dim=96,
    head_channels=16,
    use_linear_in_transformer=True,
)
TEXT = TextConfig(width=96, out_width=96, vocabulary=512, heads=4, layers=2, chunk=22)
VAE_WIDTHS = (32, 48, 56)


@dataclass(frozen=True)
class Recipe:
    """Steps, batches and rates; the seed fixes everything random."""

    seed: int = 20
    vae_images: int = 6000
    vae_steps: int = 1500
    vae_batch: int = 16
    vae_rate: float = 2e-3
    images: int = 24000
    steps: int = 5000
    batch: int = 32
    rate: float = 4e-4
    warmup: int = 200
    ema: float = 0.999
    empty_caption: float = 0.1
    """Share of captions replaced by the empty one, for classifier-free guidance."""


def model_config(scale: float) -> ModelConfig:
    """The checkpoint's description; ``scale`` brings its latents to a spread of one."""
    return ModelConfig("sd1", "v", UNET, TEXT, {"kind": "conv", "widths": list(VAE_WIDTHS), "scale": scale})

"""The UNet classes under the names that extensions look for."""

from common.nn.unet import (  # noqa: F401
    Downsample, ResBlock, TimestepEmbedSequential, UNetModel, Upsample, timestep_embedding,
)

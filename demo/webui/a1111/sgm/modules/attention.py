"""The attention classes under the names that extensions look for."""

from common.nn.unet import (  # noqa: F401
    GEGLU, BasicTransformerBlock, CrossAttention, FeedForward, SpatialTransformer,
)

"""The attention classes under the names that extensions look for."""

from common.nn.unet import BasicTransformerBlock, CrossAttention, SpatialTransformer  # noqa: F401

"""The UNet class under the name that extensions look for."""

from common.nn.unet import UNetModel, timestep_embedding  # noqa: F401

"""The SDXL UNet is a class of its own, with the same forward."""

from common.nn import unet as _unet


class UNetModel(_unet.UNetModel):
    forward = _unet.UNetModel.forward

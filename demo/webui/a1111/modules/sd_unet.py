"""The class patch that gives a replacement of the UNet every forward."""

from __future__ import annotations

from typing import Any

from common.nn.unet import UNetModel

current_unet: Any = None
"""What an extension such as TensorRT puts in the UNet's place."""


def create_unet_forward(original_forward: Any) -> Any:
    def unet_forward(self: Any, x: Any, timesteps: Any = None, context: Any = None, *args: Any, **kwargs: Any) -> Any:
        if current_unet is not None:
            return current_unet.forward(x, timesteps, context, *args, **kwargs)
        return original_forward(self, x, timesteps, context, *args, **kwargs)

    return unet_forward


def patch_unet_classes() -> None:
    """Both UNet classes are patched, never an instance."""
    from sgm.modules.diffusionmodules.openaimodel import UNetModel as XLUNetModel

    for kind in (UNetModel, XLUNetModel):
        kind.forward = create_unet_forward(kind.forward)


patch_unet_classes()

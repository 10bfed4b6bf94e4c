"""Regions and fillings for inpainting."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageFilter, ImageOps


def _image(mask: Any) -> Image.Image:
    return mask if isinstance(mask, Image.Image) else Image.fromarray(mask)


def get_crop_region_v2(mask: Any, pad: int = 0) -> tuple[int, int, int, int] | None:
    """The box around everything masked, ``pad`` wider on each side; None for an empty mask."""
    mask = _image(mask)
    box = mask.getbbox()
    if box is None:
        return None
    x1, y1, x2, y2 = box
    return max(x1 - pad, 0), max(y1 - pad, 0), min(x2 + pad, mask.width), min(y2 + pad, mask.height)


def _grow(low: int, high: int, wanted: int, limit: int) -> tuple[int, int]:
    """Widens an interval to ``wanted`` around its middle, pushed back inside ``[0, limit]``."""
    extra = wanted - (high - low)
    low -= extra // 2
    high = low + wanted
    if high >= limit:
        low, high = low - (high - limit), limit
    if low < 0:
        low, high = 0, high - low
    return low, min(high, limit)


def expand_crop_region(crop_region: tuple, processing_width: int, processing_height: int, image_width: int,
                       image_height: int) -> tuple[int, int, int, int]:
    """Widens the box to the aspect ratio it will be generated at."""
    x1, y1, x2, y2 = crop_region
    ratio = processing_width / processing_height
    if (x2 - x1) / (y2 - y1) > ratio:
        y1, y2 = _grow(y1, y2, int((x2 - x1) / ratio), image_height)
    else:
        x1, x2 = _grow(x1, x2, int((y2 - y1) * ratio), image_width)
    return x1, y1, x2, y2


def fill(image: Image.Image, mask: Image.Image) -> Image.Image:
    """Fills the masked part with ever less blurred colours of the rest."""
    rest = Image.new("RGBa", image.size)
    rest.paste(image.convert("RGBA").convert("RGBa"), mask=ImageOps.invert(mask.convert("L")))
    result = Image.new("RGBA", image.size)
    for radius, times in ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1)):
        blurred = rest.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(blurred)
    return result.convert("RGB")

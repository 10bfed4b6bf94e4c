"""Images: resizing, grids, and files that carry their infotext."""

from __future__ import annotations

import math
import os
from typing import Any

from PIL import Image, PngImagePlugin

from modules import script_callbacks

LANCZOS = Image.Resampling.LANCZOS
NEAREST = Image.Resampling.NEAREST


def flatten(img: Image.Image, bgcolor: str) -> Image.Image:
    if img.mode == "RGBA":
        background = Image.new("RGBA", img.size, bgcolor)
        background.paste(img, mask=img)
        img = background
    return img.convert("RGB")


def read(fp: Any) -> Image.Image:
    image = Image.open(fp)
    image.load()
    return image


def resize_image(resize_mode: int, im: Image.Image, width: int, height: int,
                 upscaler_name: str | None = None) -> Image.Image:
    """0: stretch; 1: cover and crop; 2: fit and fill the bars with the image's edges."""
    method = NEAREST if upscaler_name == "Nearest" else LANCZOS
    if resize_mode == 0:
        return im.resize((width, height), resample=method)
    scales = (width / im.width, height / im.height)
    scale = max(scales) if resize_mode == 1 else min(scales)
    small = im.resize((max(1, round(im.width * scale)), max(1, round(im.height * scale))), resample=method)
    result = Image.new(im.mode, (width, height))
    left, top = (width - small.width) // 2, (height - small.height) // 2
    if resize_mode != 1 and (left > 0 or top > 0):
        result.paste(small.resize((width, height), resample=method))
    result.paste(small, box=(left, top))
    return result


def image_grid(imgs: list[Image.Image], batch_size: int = 1, rows: int | None = None) -> Image.Image:
    rows = rows or round(math.sqrt(len(imgs))) or 1
    cols = math.ceil(len(imgs) / rows)
    params = script_callbacks.ImageGridLoopParams(imgs, cols, rows)
    script_callbacks.image_grid_callback(params)
    width, height = (max(x.size[i] for x in imgs) for i in (0, 1))
    grid = Image.new("RGB", size=(params.cols * width, params.rows * height), color="black")
    for i, image in enumerate(params.imgs):
        grid.paste(image, box=(i % params.cols * width, i // params.cols * height))
    return grid


def _next_number(path: str) -> int:
    numbers = [name.split("-")[0] for name in os.listdir(path)]
    return max((int(x) for x in numbers if x.isdigit()), default=-1) + 1


def save_image(image: Image.Image, path: str, basename: str | None, seed: Any = None, prompt: Any = None,
               extension: str = "png", info: str | None = None, grid: bool = False, p: Any = None) -> tuple[str, None]:
    """Writes a numbered PNG, asking the save callbacks before and telling them after."""
    os.makedirs(path, exist_ok=True)
    name = f"{_next_number(path):05}-{seed}.{extension}"
    params = script_callbacks.ImageSaveParams(image, p, os.path.join(path, name), {"parameters": info})
    script_callbacks.before_image_saved_callback(params)
    texts = PngImagePlugin.PngInfo()
    for key, value in params.pnginfo.items():
        if value is not None:
            texts.add_text(key, str(value))
    params.image.save(params.filename, pnginfo=texts)
    script_callbacks.image_saved_callback(params)
    return params.filename, None

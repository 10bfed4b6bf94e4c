"""The first prompts at every size, dense and with CR-Diff side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crdiff.method.groups import Ratios
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate.compare import Sample
from demo.evaluate.judge import Judge
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.scenes.scene import Scene

GAP = 4
BLOCK_GAP = 14
LABEL = 16
SIZE_WIDTH = 64
SEED = 1
COLOURS = 255


def save_grid(
    model: DemoModel, judge: Judge, sizes: Sequence[Size], presets: Sequence[Preset], scenes: Sequence[Scene],
    drawing: Drawing, path: Path, columns: int = 4,
) -> None:  # fmt: skip
    """A row for each size; of each of the first scenes the dense image, then one for each criterion with a preset.

    Under each image stands the scorer's probability of the caption, in percent; ``presets`` have a k.
    """
    sample = Sample(tuple(scenes[:columns]), (SEED,))
    criteria = list(dict.fromkeys(preset.criterion for preset in presets))
    wide = max(size.width for size in sizes)
    block = (1 + len(criteria)) * (wide + GAP) + BLOCK_GAP
    height = 3 * LABEL + sum(size.height + LABEL + 2 * GAP for size in sizes)
    sheet = Image.new("RGB", (SIZE_WIDTH + len(sample.scenes) * block - BLOCK_GAP, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for index, scene in enumerate(sample.scenes):
        left = SIZE_WIDTH + index * block
        for line, text in enumerate(_two_lines(scene.caption())):
            pen.text((left, line * LABEL), text, fill="black", font=font)
        for place, way in enumerate(("dense", *criteria)):
            pen.text((left + place * (wide + GAP), 2 * LABEL), way, fill="gray", font=font)
    top = 3 * LABEL
    for size in sizes:
        pen.text((2, top), str(size), fill="black", font=font)
        drawn = {0: _drawn(model, judge, sample, size, DENSE, 0.0, drawing)}
        for preset in presets:
            if preset.size == size:
                own = replace(drawing, criterion=preset.criterion)
                place = 1 + criteria.index(preset.criterion)
                drawn[place] = _drawn(model, judge, sample, size, preset.ratios, preset.k or 0.0, own)
        for place, images in drawn.items():
            for index, (image, score) in enumerate(images):
                left = SIZE_WIDTH + index * block + place * (wide + GAP)
                sheet.paste(Image.fromarray(image), (left, top))
                pen.text((left, top + size.height), f"{100 * score:.0f} %", fill="gray", font=font)
        top += size.height + LABEL + 2 * GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    # A palette halves the file, and the images have few colours.
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _drawn(
    model: DemoModel, judge: Judge, sample: Sample, size: Size, ratios: Ratios, k: float, drawing: Drawing
) -> list[tuple[NDArray[np.uint8], float]]:  # fmt: skip
    images = sample.draw(model, size, ratios, k, drawing)
    return list(zip(images, judge.verdict(images, sample.asked).scores.tolist()))


def _two_lines(caption: str) -> tuple[str, str]:
    first, second = caption.split(" left of ")
    return f"{first} left of", second

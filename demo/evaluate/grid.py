"""Pictures of every way side by side, size by size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from demo.evaluate.compare import Comparison

GAP = 6
LABEL = 16
SHOWN = ("dense", "block-wise pruning", "CR-Diff")


def save_grid(found: Sequence[Comparison], path: Path, pictures: int = 3) -> None:
    """A row of blocks for each size: ``pictures`` prompts, each drawn in the ways of ``SHOWN``."""
    rows = [_row(one, pictures) for one in found]
    width = max(row.width for row in rows)
    sheet = Image.new("RGB", (width, sum(row.height for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)


def _row(one: Comparison, pictures: int) -> Image.Image:
    tall, wide = one.size.height, one.size.width
    block = len(SHOWN) * (wide + GAP) + 2 * GAP
    row = Image.new("RGB", (pictures * block, tall + LABEL + GAP), "white")
    pen = ImageDraw.Draw(row)
    for index in range(pictures):
        for column, way in enumerate(SHOWN):
            left = index * block + column * (wide + GAP)
            text = f"{one.size} {way}" if column == 0 else way
            pen.text((left, 2), text, fill="black")
            row.paste(Image.fromarray(one.pictures[way][index]), (left, LABEL))
    return row

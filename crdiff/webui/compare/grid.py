"""All images of a comparison in one, labelled: a column for each way, a row for each seed."""

from __future__ import annotations

from typing import Any

from PIL import Image, ImageDraw, ImageFont

from crdiff.webui.compare.comparison import Column, Comparison
from crdiff.webui.status import times_text

_PAPER, _INK = "white", "black"
_SMALLEST_FONT, _LARGEST_FONT = 10, 36


def labelled_grid(comparison: Comparison) -> Image.Image:
    """The grid: heads with name, cost and mean, seeds at the left, each image's score below it."""
    sizes = [drawn.image.size for column in comparison.columns for drawn in column.images]
    width, height = max(size[0] for size in sizes), max(size[1] for size in sizes)
    font = _font(min(max(width // 20, _SMALLEST_FONT), _LARGEST_FONT))
    heads = [_head(column) for column in comparison.columns]
    seeds = [f"seed {seed}" for seed in comparison.seeds]
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    line = _measure(pen, "Ag", font)[1] + 4
    left = max(_measure(pen, text, font)[0] for text in seeds) + line
    top = max(len(head) for head in heads) * line + line // 2
    # What is written above a column has to fit into it.
    wide = max(width, *(_measure(pen, text, font)[0] + line for head in heads for text in head))
    below = line if any(column.scores is not None for column in comparison.columns) else line // 2
    grid = Image.new("RGB", (left + wide * len(heads), top + (height + below) * len(seeds)), _PAPER)
    pen = ImageDraw.Draw(grid)

    def write(text: str, centre: float, y: float) -> None:
        pen.text((centre - _measure(pen, text, font)[0] / 2, y), text, fill=_INK, font=font)

    for place, head in enumerate(heads):
        for number, text in enumerate(head):
            write(text, left + wide * (place + 0.5), 2 + number * line)
    for row, text in enumerate(seeds):
        write(text, left / 2, top + (height + below) * row + (height - line) / 2)
    for column, row in comparison.cells():
        image, place = column.images[row].image, comparison.columns.index(column)
        x, y = left + wide * place + (wide - image.width) // 2, top + (height + below) * row
        grid.paste(image.convert("RGB"), (x, y))
        if column.scores is not None:
            write(caption(column, row), left + wide * (place + 0.5), y + image.height + 1)
    return grid


def caption(column: Column, row: int) -> str:
    """The score of an image, with whether it is right where the scorer can tell."""
    if column.scores is None:
        return ""
    mark = "" if column.right is None else "right " if column.right[row] else "wrong "
    return f"{mark}{column.scores[row]:.2f}"


def _head(column: Column) -> list[str]:
    cost = [] if column.passes is None else [times_text(column.passes)]
    mean = [] if column.mean is None else [f"mean {column.mean:.2f}"]
    return [column.label, *cost, *([column.verdict] if column.verdict else mean)]


def _measure(pen: Any, text: str, font: Any) -> tuple[int, int]:
    box = pen.textbbox((0, 0), text, font=font)
    return int(box[2]), int(box[3])


def _font(size: int) -> Any:
    """The host's own font; Pillow's small one where the host has none."""
    from modules import images

    own = getattr(images, "get_font", None)
    return ImageFont.load_default() if own is None else own(size)

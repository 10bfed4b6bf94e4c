"""What a comparison came to, and how it is shown: images side by side with name, score and time."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from demo.compare.scores import Judged


@dataclass
class Column:
    """The images of one variant, one for each seed.

    Attributes:
        name: of the variant.
        images: as drawn.
        infotexts: one for each image.
        seconds: for all of them together.
        origin: where CR-Diff's ratios came from; empty if it was off or did not act.
        k: amplification; None if CR-Diff was off or did not act.
        judged: what the scorer says of them; None without a scorer.
    """

    name: str
    images: list[Image.Image]
    infotexts: list[str]
    seconds: float
    origin: str = ""
    k: float | None = None
    judged: Judged | None = None

    @property
    def verdict(self) -> str:
        """How many images are right, in words; empty without a scorer."""
        return "" if self.judged is None else f"{sum(self.judged.right)} of {len(self.images)} right"


@dataclass
class Comparison:
    """All columns, and what there is to say about them."""

    columns: list[Column] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def say(self, sentence: str) -> None:
        """Add a sentence, once."""
        if sentence and sentence not in self.sentences:
            self.sentences.append(sentence)

    def cells(self) -> Iterator[tuple[Column, int]]:
        """Column and row of each image, row by row."""
        for row in range(self._rows):
            for column in self.columns:
                if row < len(column.images):
                    yield column, row

    @property
    def _rows(self) -> int:
        return max((len(column.images) for column in self.columns), default=0)

    def summary(self) -> dict[str, Any]:
        """For the API's ``info``."""
        return {"columns": [_summary(column) for column in self.columns], "sentences": list(self.sentences)}

    def to_html(self) -> str:
        """The panel of the page: variants side by side, or below one another where each has several images."""
        columns = max(len(self.columns), 1) if self._rows == 1 else 1
        style = f"grid-template-columns: repeat({columns}, minmax(0, 1fr))"
        sections = "".join(_section(column) for column in self.columns)
        sentences = "".join(f"<p>{html.escape(text)}</p>" for text in self.sentences)
        return (
            f'<div class="demo-variants" style="{style}">{sections}</div><div class="demo-sentences">{sentences}</div>'
        )


def _summary(column: Column) -> dict[str, Any]:
    judged = column.judged
    return {
        "name": column.name,
        "seconds": round(column.seconds, 3),
        "scores": None if judged is None else judged.scores,
        "right": None if judged is None else judged.right,
        "origin": column.origin,
    }


def _section(column: Column) -> str:
    parts = [part for part in (column.verdict, f"{column.seconds:.1f} s") if part]
    origin = f"<small>{html.escape(column.origin)}</small>" if column.origin else ""
    header = f"<header><b>{html.escape(column.name)}</b><span>{', '.join(parts)}</span>{origin}</header>"
    figures = "".join(_figure(column, row) for row in range(len(column.images)))
    return f'<section>{header}<div class="demo-images">{figures}</div></section>'


def _figure(column: Column, row: int) -> str:
    """A PNG with its infotext in it, as one saves it."""
    caption, kind = "", ""
    if column.judged is not None:
        right = column.judged.right[row]
        kind = ' class="demo-right"' if right else ' class="demo-wrong"'
        caption = f"<figcaption>{'✓' if right else '✗'} {column.judged.scores[row]:.2f}</figcaption>"
    source = _data_url(column.images[row], column.infotexts[row])
    return f'<figure{kind}><img src="{source}" alt="{html.escape(column.name)}">{caption}</figure>'


def _data_url(image: Image.Image, infotext: str) -> str:
    texts = PngInfo()
    texts.add_text("parameters", infotext)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=texts)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

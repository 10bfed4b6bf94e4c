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


@dataclass
class Column:
    """The images of one variant, one for each seed.

    Attributes:
        name: of the variant.
        images: as drawn.
        infotexts: one for each image.
        seconds: for all of them together.
        origin: where CR-Diff's ratios came from; empty if it was off or did not act.
        scores: one for each image; None without a scorer.
    """

    name: str
    images: list[Image.Image]
    infotexts: list[str]
    seconds: float
    origin: str = ""
    scores: list[float] | None = None


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
        for row in range(max((len(column.images) for column in self.columns), default=0)):
            for column in self.columns:
                if row < len(column.images):
                    yield column, row

    def summary(self) -> dict[str, Any]:
        """For the API's ``info``."""
        columns = [
            {"name": x.name, "seconds": round(x.seconds, 3), "scores": x.scores, "origin": x.origin}
            for x in self.columns
        ]
        return {"columns": columns, "sentences": list(self.sentences)}

    def to_html(self) -> str:
        """The panel of the page. Each image is a PNG with its infotext in it, as one saves it."""
        figures = "".join(_figure(column, row) for column, row in self.cells())
        sentences = "".join(f"<p>{html.escape(text)}</p>" for text in self.sentences)
        style = f"grid-template-columns: repeat({max(len(self.columns), 1)}, minmax(0, 1fr))"
        return f'<div class="demo-figures" style="{style}">{figures}</div><div class="demo-sentences">{sentences}</div>'


def _figure(column: Column, row: int) -> str:
    name = html.escape(column.name)
    parts = [] if column.scores is None else [f"score {column.scores[row]:.2f}"]
    parts.append(f"{column.seconds / len(column.images):.2f} s")
    origin = f"<small>{html.escape(column.origin)}</small>" if column.origin else ""
    image = f'<img src="{_data_url(column.images[row], column.infotexts[row])}" alt="{name}">'
    return f"<figure>{image}<figcaption><b>{name}</b><span>{', '.join(parts)}</span>{origin}</figcaption></figure>"


def _data_url(image: Image.Image, infotext: str) -> str:
    texts = PngInfo()
    texts.add_text("parameters", infotext)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=texts)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

"""The report of an evaluation: ``report.json``, and ``report.html``, one file that needs no other and no network."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crdiff.evaluation.images import Item, Plan
from crdiff.evaluation.record import Record
from crdiff.evaluation.results import Results, Score, WayResult
from crdiff.evaluation.statistics import Interval
from crdiff.files import write_atomically

_HERE = Path(__file__).with_name("page")
_QUALITY = 90

Labels = Mapping[str, str]
"""Of the metrics, by name."""


def write_report(out: Path, results: Results, record: Record, labels: Labels, shown: int = 12) -> Path:
    """Write both files.

    Args:
        out: the folder.
        results: to report.
        record: has the images.
        labels: of the metrics.
        shown: prompts of each size whose images are shown.

    Returns:
        The page.

    Raises:
        OSError: one of the files cannot be written.
    """
    write_atomically(out / "report.json", json.dumps(results.to_dict(), indent=1, allow_nan=False).encode())
    page = out / "report.html"
    write_atomically(page, page_of(results, shown_images(results.plan, record, shown), labels).encode("utf-8"))
    return page


def page_of(results: Results, images: Sequence[Mapping[str, Any]], labels: Labels) -> str:
    """The page: tables, and the images side by side.

    Args:
        results: to report.
        images: as ``shown_images`` gives them.
        labels: of the metrics.
    """
    tables = "".join(_table(str(size), ways, labels) for size, ways in results.sizes.items())
    drawn_with = ", ".join(f"{name} {value}" for name, value in results.identity.items() if value not in ("", None))
    template = (_HERE / "report.html").read_text(encoding="utf-8")
    parts = {
        "style": (_HERE / "report.css").read_text(encoding="utf-8"),
        "script": (_HERE / "report.js").read_text(encoding="utf-8"),
        "drawn_with": html.escape(drawn_with),
        "sample": f"{len(results.plan.prompts)} prompts, {len(results.plan.seeds)} seeds each",
        "tables": tables,
        # No text of a prompt can end the script that holds it.
        "images": json.dumps(list(images)).replace("<", "\\u003c"),
    }
    for name, text in parts.items():
        template = template.replace(f"<!--{name}-->", text)
    return template


def shown_images(plan: Plan, record: Record, count: int) -> list[dict[str, Any]]:
    """Of each size the first prompts and seeds whose images have been kept, as JSON: texts and data URLs by way."""
    found = []
    for size, drawings in plan.drawings.items():
        cells = [(prompt, seed) for prompt in dict.fromkeys(plan.prompts) for seed in plan.seeds]
        taken = 0
        for prompt, seed in cells:
            ways = {}
            for drawing in drawings:
                item = Item(size, drawing, prompt, seed)
                if (image := record.image(item)) is not None:
                    ways[drawing.way] = {"source": _data_url(image), "scores": record.entry(item).scores}
            if len(ways) < min(2, len(drawings)):
                continue
            found.append({"size": str(size), "prompt": prompt, "seed": seed, "ways": ways})
            taken += 1
            if taken == count:
                break
    return found


def _data_url(image: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _table(size: str, ways: Sequence[WayResult], labels: Labels) -> str:
    metrics = list(dict.fromkeys(name for way in ways for name in way.scores))
    distances = list(dict.fromkeys(name for way in ways for name in way.distances))
    heads = ["way", "UNet passes", "images", "seconds"]
    for name in metrics:
        heads += [labels.get(name, name), "gain over dense", "better"]
    heads += [labels.get(name, name) for name in distances]
    rows = "".join(_row(way, metrics, distances) for way in ways)
    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    return f"<h2>{size} (height x width)</h2><div class=wide><table><tr>{head}</tr>{rows}</table></div>"


def _row(way: WayResult, metrics: Sequence[str], distances: Sequence[str]) -> str:
    drawing = way.drawing
    name = f"<th title='{html.escape(drawing.origin, quote=True)}'>{html.escape(drawing.way)}</th>"
    seconds = "" if way.seconds is None else f"{way.seconds:.2f}"
    cells = [f"{drawing.passes:.2f}", str(way.images), seconds]
    for metric in metrics:
        cells += _score_cells(way.scores.get(metric))
    cells += [f"{way.distances[metric]:.3f}" if metric in way.distances else "" for metric in distances]
    return f"<tr>{name}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _score_cells(score: Score | None) -> list[str]:
    if score is None:
        return ["", "", ""]
    gain = "" if score.gain is None else interval_text(score.gain, signs=True)
    if score.gain is not None and score.gain.certain:
        gain = f"<b>{gain}</b>"
    return [interval_text(score.mean), gain, "" if score.wins is None else f"{100 * score.wins:.0f} %"]


def interval_text(interval: Interval, *, signs: bool = False) -> str:
    """Such as ``0.735 (0.701 to 0.769)``, or the value alone where the interval is not known."""
    sign = "+" if signs else ""
    text = f"{interval.value:{sign}.3f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"

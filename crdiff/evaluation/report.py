"""The report of an evaluation: ``report.json``, and ``report.html``, one file that needs no other and no network."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crdiff.evaluation.images import Item, Plan
from crdiff.evaluation.notes import notes
from crdiff.evaluation.paper import BEST, BEST_BY
from crdiff.evaluation.plots import plots
from crdiff.evaluation.radar import radar
from crdiff.evaluation.record import Record
from crdiff.evaluation.results import Results, Score, WayResult
from crdiff.files import write_atomically
from crdiff.intervals import Interval

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
    metrics = [name for ways in results.sizes.values() for way in ways for name in way.scores]
    page = out / "report.html"
    images = shown_images(results.plan, record, shown, {name: labels.get(name, name) for name in metrics})
    write_atomically(page, page_of(results, images, labels).encode("utf-8"))
    return page


def page_of(results: Results, images: Sequence[Mapping[str, Any]], labels: Labels) -> str:
    """The page: tables, and the images side by side.

    Args:
        results: to report.
        images: as ``shown_images`` gives them.
        labels: of the metrics.
    """
    tables = "".join(_table(str(size), ways, results.baseline, labels) for size, ways in results.sizes.items())
    template = (_HERE / "report.html").read_text(encoding="utf-8")
    said = "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes(results.plan, labels))
    parts = {
        "style": (_HERE / "report.css").read_text(encoding="utf-8"),
        "script": (_HERE / "report.js").read_text(encoding="utf-8"),
        "drawn_with": html.escape(", ".join(_told(results.identity))),
        "sample": f"Prompts: {len(results.plan.prompts)}; seeds of each: {len(results.plan.seeds)}",
        "tables": tables + said,
        # No text of a prompt can end the script that holds it.
        "images": json.dumps(list(images)).replace("<", "\\u003c"),
    }
    for name, text in parts.items():
        template = template.replace(f"<!--{name}-->", text)
    return template


def _told(identity: Mapping[str, Any]) -> Iterator[str]:
    """Each thing that has a value."""
    for name, value in identity.items():
        if isinstance(value, Mapping):
            yield from _told(value)
        elif value not in ("", None):
            yield f"{name} {value}"


def shown_images(plan: Plan, record: Record, count: int, labels: Labels) -> list[dict[str, Any]]:
    """Of each size the first prompts and seeds whose images have been kept, as JSON: texts and data URLs by way.

    Args:
        plan: what is compared.
        record: has the images, and perhaps scores of earlier evaluations besides those of this one.
        count: prompts and seeds of each size.
        labels: of the metrics of this evaluation.
    """
    found = []
    for size, drawings in plan.drawings.items():
        cells = [(prompt, seed) for place, prompt in enumerate(plan.prompts) for seed in plan.seeds_at(place)]
        taken = 0
        for prompt, seed in dict.fromkeys(cells):
            ways = {}
            for drawing in drawings:
                item = record.taken(Item(size, drawing, prompt, seed))
                if item is not None and (image := record.image(item)) is not None:
                    known = record.entry(item).scores
                    scores = {label: known[name] for name, label in labels.items() if name in known}
                    ways[drawing.way] = {"source": _data_url(image), "scores": scores}
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


def _table(size: str, ways: Sequence[WayResult], baseline: str, labels: Labels) -> str:
    metrics = list(dict.fromkeys(name for way in ways for name in way.scores))
    distances = list(dict.fromkeys(name for way in ways for name in way.distances))
    columns = [_Column("UNet passes", lambda way: f"{way.drawing.passes:.2f}")]
    columns.append(_Column("images", lambda way: str(way.images)))
    columns.append(_Column("seconds", lambda way: "" if way.seconds is None else f"{way.seconds:.2f}"))
    for name in metrics:
        columns += _score_columns(name, labels.get(name, name), baseline)
    for name in distances:
        columns.append(_Column(labels.get(name, name), partial(_distance_text, name)))
        columns.append(_Column("paper", partial(_published_text, name)))
    rows = [[column.text(way) for column in columns] for way in ways]
    shown = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    head = "".join(f"<th>{html.escape(columns[number].head)}</th>" for number in shown)
    body = "".join(
        f"<tr>{_name(way)}{''.join(f'<td>{row[number]}</td>' for number in shown)}</tr>" for way, row in zip(ways, rows)
    )
    table = f"<div class=wide><table><tr><th>way</th>{head}</tr>{body}</table></div>"
    return f"<h2>{size} (height x width)</h2>{table}{radar(ways, labels)}{plots(ways, baseline, labels)}"


@dataclass(frozen=True)
class _Column:
    """A column of a table; one in which all texts are empty is left out."""

    head: str
    text: Callable[[WayResult], str]


def _name(way: WayResult) -> str:
    title = html.escape(way.drawing.origin, quote=True)
    return f"<th title='{title}'>{html.escape(way.drawing.way)}</th>"


def _score_columns(metric: str, label: str, baseline: str) -> list[_Column]:
    def of(text: Callable[[Score], str]) -> Callable[[WayResult], str]:
        return lambda way: text(way.scores[metric]) if metric in way.scores else ""

    return [
        _Column(label, of(lambda score: interval_text(score.mean))),
        _Column("paper", partial(_published_text, metric)),
        _Column(f"gain over {baseline}", of(_gain_text)),
        _Column(f"better than {baseline}", of(lambda score: _share_text(score.wins))),
        _Column("best of all", of(lambda score: _share_text(score.best))),
        *([_Column("paper", lambda way: _share_text(way.drawing.published.get(BEST)))] if metric == BEST_BY else []),
    ]


def _published_text(metric: str, way: WayResult) -> str:
    published = way.drawing.published
    return f"{published[metric]:.3f}" if metric in published else ""


def _distance_text(name: str, way: WayResult) -> str:
    return f"{way.distances[name]:.3f}" if name in way.distances else ""


def _gain_text(score: Score) -> str:
    if score.gain is None:
        return ""
    text = interval_text(score.gain, signs=True)
    return f"<b>{text}</b>" if score.gain.certain else text


def _share_text(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"


def interval_text(interval: Interval, *, signs: bool = False) -> str:
    """Such as ``0.735 (0.701 to 0.769)``, or the value alone where the interval is not known.

    Args:
        interval: of a mean over prompts, or of a gain.
        signs: whether it is a gain.
    """
    sign = "+" if signs else ""
    text = f"{interval.value:{sign}.3f}"
    if interval.low is None or interval.high is None:
        return text
    if interval.uniform:
        return f"{text} (no prompt differs)" if signs and not interval.value else f"{text} (the same for every prompt)"
    return f"{text} ({interval.low:{sign}.3f} to {interval.high:{sign}.3f})"

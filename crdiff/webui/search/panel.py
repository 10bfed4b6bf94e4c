"""What the page shows of a search: its status, the best image beside the dense one, charts and a table.

The charts are inline SVG in the page's text colour: the score as it goes, and where configurations were tried.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from crdiff.method.groups import GROUPS
from crdiff.search.objective import FAILED_SCORE
from crdiff.search.report import Evaluation, Report
from crdiff.search.score_text import score_text
from crdiff.search.strategies.point import AXES, Point
from crdiff.webui.markup import status_html
from crdiff.webui.search.monitor import Question, SearchStatus, Thumbnail
from crdiff.webui.search.results import SearchResult

ROWS = 10
_PAIRS = (("down", "mid"), ("down", "up"), ("mid", "up"))
_LEVELS = {"failed": "problem", "stopped": "estimated"}


def best_ten(report: Report) -> list[Evaluation]:
    """The best configurations, each once; the dense model is not among them."""
    seen: set[Point] = set()
    rows = []
    scored = [entry for entry in report.history if entry.score is not None and entry.kind != "baseline"]
    for entry in sorted(scored, key=lambda entry: -(entry.score or 0.0)):
        key = entry.point.rounded.merged
        if key in seen or key.is_dense:
            continue
        seen.add(key)
        rows.append(entry)
    return rows[:ROWS]


def panel_html(status: SearchStatus, version: int) -> str:
    """The panel; ``version`` lets the page tell whether it has changed."""
    parts = [status_html(status.text, _LEVELS.get(status.state, "ok"))]
    if status.question is not None:  # the other images would tell which of the two is the best so far
        parts.append(_question(status.question))
        return _panel(status, version, parts)
    parts.append(f'<p class="crdiff-search-subject">{html.escape(status.subject)}</p>' if status.subject else "")
    found, dense = status.found, status.report.baseline if status.report else None
    apply = "" if found is None else _apply("Apply best", status.applied(found))
    best = "Best so far" if status.state == "running" else "Best"
    figures = [_figure("Dense", status.dense, dense), _figure(best, status.best, found, apply)]
    if any(figures):
        parts.append(f'<div class="crdiff-search-pictures">{"".join(figures)}</div>')
    if status.report is not None:
        marks = _marks(status.report)
        parts.append(f'<div class="crdiff-search-charts">{draw_curve(marks)}{draw_map(marks)}</div>')
        parts.append(_table(status))
    return _panel(status, version, parts)


def _panel(status: SearchStatus, version: int, parts: list[str]) -> str:
    return (
        f'<div class="crdiff-search" data-crdiff-search="{status.state}" data-crdiff-version="{version}" '
        f'data-crdiff-score="{html.escape(status.score_name)}" data-crdiff-found="{status.found is not None}">'
        f"{''.join(parts)}</div>"
    )


def _question(question: Question) -> str:
    """Two images and three buttons; the page's script takes the arrow keys for them as well."""
    sides = "".join(
        f'<figure><img src="{url}" alt="{side} image">{_answer(question, side, f"The {side} one {arrow}")}</figure>'
        for side, url, arrow in (("left", question.left, "\u2190"), ("right", question.right, "\u2192"))
    )
    same = _answer(question, "same", "No difference \u2193")
    asked = html.escape(f"Which is better for: {question.prompt}?")
    return (
        f'<div class="crdiff-question" data-crdiff-question="{question.number}"><p>{asked}</p>'
        f'<div class="crdiff-search-pictures">{sides}</div>{same}</div>'
    )


def _answer(question: Question, choice: str, text: str) -> str:
    value = f"{question.number}:{choice}"
    return f'<button type="button" class="crdiff-apply" data-crdiff-answer="{value}">{text}</button>'


def _marks(report: Report) -> list[Mark]:
    def drawn(score: float | None) -> float | None:
        """What failed or was skipped counts as very bad, which would flatten all the others."""
        return None if score == FAILED_SCORE else score

    return [
        Mark(
            entry.number,
            drawn(entry.score),
            {axis: fmean(stage[axis] for stage in entry.point.stages) for axis in AXES},
            entry.kind == "baseline" or entry.point.is_dense,
        )
        for entry in report.history
    ]


def _figure(name: str, shown: Thumbnail | None, entry: Evaluation | None, below: str = "") -> str:
    """The first image of a configuration, with the score of all of them, which is the table's."""
    if shown is None:
        return ""
    score = "" if entry is None or entry.score is None else f" <span>{score_text(entry.score)}</span>"
    images = 0 if entry is None else len(entry.scores)
    caption = f"{shown.caption}; the first of {images} images" if images > 1 else shown.caption
    return (
        f'<figure><img src="{shown.url}" alt="{name}"><figcaption><b>{name}</b>{score}'
        f"<small>{html.escape(caption)}</small></figcaption>{below}</figure>"
    )


def _table(status: SearchStatus) -> str:
    assert status.report is not None
    rows = best_ten(status.report)
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("", "score", *GROUPS, "k", ""))
    body = "".join(_row(place, entry, status) for place, entry in enumerate(rows, 1))
    table = f'<table class="crdiff-search-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="crdiff-scroll">{table}</div>'


def _row(place: int, entry: Evaluation, status: SearchStatus) -> str:
    ratios = "".join(f"<td>{_over_stages(entry.point, group, '.3f')}</td>" for group in GROUPS)
    button = _apply("Apply", status.applied(entry))
    score = "" if entry.score is None else score_text(entry.score)
    k = _over_stages(entry.point, "k", ".3g")
    return f"<tr><td>{place}</td><td>{score}</td>{ratios}<td>{k}</td><td>{button}</td></tr>"


def _over_stages(point: Point, axis: str, digits: str) -> str:
    """The value of an axis, or those of the stages in their order where they differ."""
    texts = [format(stage[axis], digits) for stage in point.stages]
    return texts[0] if len(set(texts)) == 1 else " → ".join(texts)


def _apply(text: str, values: Mapping[str, float | str | None]) -> str:
    """A button by which the page's script sets the controls."""
    data = html.escape(json.dumps(values))
    return f'<button type="button" class="crdiff-apply" data-crdiff-apply="{data}">{text}</button>'


def results_html(found: Sequence[SearchResult]) -> str:
    """What was found earlier for the prompt and size in the tab, each to apply; empty if there is nothing."""
    if not found:
        return ""
    rows = "".join(f"<li>{html.escape(one.describe())} {_apply('Apply', one.applied())}</li>" for one in found)
    return f'<div class="crdiff-remembered">Found earlier for this prompt and size:<ul>{rows}</ul></div>'


@dataclass(frozen=True)
class Mark:
    """A configuration as it is drawn.

    Attributes:
        number: counts from 1.
        score: its mean; None if its evaluation was cut.
        point: down, mid, up and k; of several stages their means.
        baseline: whether it is the dense model.
    """

    number: int
    score: float | None
    point: Mapping[str, float]
    baseline: bool = False


def draw_curve(marks: Sequence[Mark], width: int = 360, height: int = 150) -> str:
    """Every score as a dot, the best so far as a line, the dense model's as a dashed one; scores go upwards."""
    scored = [(mark, mark.score) for mark in marks if mark.score is not None]
    if not scored:
        return ""
    last = max(mark.number for mark in marks)
    low, high = min(score for _, score in scored), max(score for _, score in scored)
    span = (high - low) or 1.0
    left, right, top, bottom = 58, width - 8, 10, height - 22

    def x(number: float) -> float:
        return left + (right - left) * ((number - 1) / (last - 1) if last > 1 else 0.5)

    def y(score: float) -> float:
        return bottom - (bottom - top) * (score - low) / span

    parts = [_line(left, bottom, right, bottom, 0.4), _line(left, top, left, bottom, 0.4)]
    ticks = [high, low] if high > low else [high]
    parts += [_text(left - 4, y(score) + 3, text, "end") for score, text in zip(ticks, _told_apart(ticks))]
    parts += [_text(left, height - 6, "1", "middle"), _text(right, height - 6, str(last), "end")] if last > 1 else []
    parts.append(_text((left + right) / 2, height - 6, "evaluations", "middle"))
    dense = next((score for mark, score in scored if mark.baseline), None)
    if dense is not None:
        parts.append(
            f'<line class="crdiff-dense" x1="{left}" y1="{y(dense):.1f}" x2="{right}" y2="{y(dense):.1f}" '
            'stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="4 3"/>'
        )
        parts.append(_text(right, y(dense) - 3, "dense", "end"))
    steps, best = "", -float("inf")
    for mark, score in scored:
        if score > best:
            steps += f"{'M' if not steps else f'H{x(mark.number):.1f}V'}"
            steps += f"{x(mark.number):.1f} {y(score):.1f}" if steps == "M" else f"{y(score):.1f}"
            best = score
    parts.append(
        f'<path class="crdiff-best" d="{steps}H{x(last):.1f}" fill="none" stroke="var(--crdiff-accent, #2f81f7)" '
        'stroke-width="2"/>'
    )
    parts += [
        f'<circle cx="{x(mark.number):.1f}" cy="{y(score):.1f}" r="2.2" fill="currentColor" fill-opacity="0.55"/>'
        for mark, score in scored
    ]
    return _svg("crdiff-curve", width, height, f"Scores of {len(scored)} configurations, best {best:.3g}", parts)


def _told_apart(scores: Sequence[float]) -> list[str]:
    """Scores with as few digits as tell them apart."""
    for digits in range(2, 7):
        texts = [f"{score:.{digits}g}" for score in scores]
        if len(set(texts)) == len(texts):
            break
    return texts


def draw_map(marks: Sequence[Mark], side: int = 116) -> str:
    """Three squares, two ratios each: a dot for each configuration, the darker the better; the best has a ring."""
    tried = [mark for mark in marks if not mark.baseline]
    if not tried:
        return ""
    scores = [mark.score for mark in tried if mark.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    best = max((mark for mark in tried if mark.score is not None), key=lambda mark: mark.score or 0.0, default=None)
    gap, foot = 14, 18
    parts = []
    for place, (across, upward) in enumerate(_PAIRS):
        left = gap + place * (side + 2 * gap)
        parts.append(
            f'<rect x="{left}" y="4" width="{side}" height="{side}" fill="none" stroke="currentColor" '
            'stroke-opacity="0.4"/>'
        )
        parts.append(_text(left + side / 2, side + foot - 2, f"{across} →", "middle"))
        turn = f"rotate(-90 {left - 4} {4 + side / 2:g})"
        parts.append(_text(left - 4, 4 + side / 2, f"{upward} →", "middle", f' transform="{turn}"'))
        for mark in sorted(tried, key=lambda mark: (mark.score is not None, mark.score or 0.0)):
            cx, cy = left + side * mark.point[across], 4 + side * (1.0 - mark.point[upward])
            if mark.score is None:
                shade = 'fill="none" stroke="currentColor" stroke-opacity="0.35"'
            else:
                merit = (mark.score - low) / (high - low) if high > low else 1.0
                shade = f'fill="currentColor" fill-opacity="{0.15 + 0.75 * merit:.2f}"'
            parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" {shade}/>')
        if best is not None:
            cx, cy = left + side * best.point[across], 4 + side * (1.0 - best.point[upward])
            parts.append(
                f'<circle class="crdiff-best" cx="{cx:.1f}" cy="{cy:.1f}" r="5.5" fill="none" '
                'stroke="var(--crdiff-accent, #2f81f7)" stroke-width="2"/>'
            )
    width = len(_PAIRS) * (side + 2 * gap)
    return _svg("crdiff-map", width, side + foot + 4, f"{len(tried)} configurations tried", parts)


def _svg(name: str, width: int, height: int, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="{name}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html.escape(label)}">{"".join(parts)}</svg>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, opacity: float) -> str:
    return f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="currentColor" stroke-opacity="{opacity:g}"/>'


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" fill="currentColor"{more}>'
        f"{html.escape(text)}</text>"
    )

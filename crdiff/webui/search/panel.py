"""What the page shows of a search: a status line, the best picture beside the dense one, curve, map and table."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crdiff.method.groups import GROUPS
from crdiff.search.score_text import score_text
from crdiff.webui.search.charts import Mark, draw_curve, draw_map

if TYPE_CHECKING:
    from crdiff.search.search import Evaluation, Report
    from crdiff.webui.search.board import Question, Snapshot, Standing
    from crdiff.webui.search.remembered import Found

ROWS = 10
_LEVELS = {"failed": "problem", "stopped": "estimated"}


def status_text(standing: Standing) -> str:
    """One line: how far the search is, what it found, how long it will take."""
    report = standing.report
    if standing.state == "none":
        return ""
    parts = []
    if report is not None:
        of = f" of {standing.evaluations}" if standing.evaluations else ""
        parts.append(f"{report.evaluations}{of} evaluations")
        if report.best is not None and report.best.score is not None:
            parts.append(f"best {score_text(report.best.score)}")
        if report.baseline is not None and report.baseline.score is not None:
            parts.append(f"dense {score_text(report.baseline.score)}")
        if standing.state == "running" and report.seconds_left is not None:
            parts.append(f"{duration(report.seconds_left)} left")
    else:
        parts.append("preparing")
    text = f"{standing.state.capitalize()}: {', '.join(parts)}"
    text += f" ({standing.score_name})" if standing.score_name else ""
    return f"{text}. {standing.message}".strip()


def duration(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 5400:
        return f"about {round(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def best_ten(report: Report) -> list[Evaluation]:
    """The best configurations, each once; the dense model is not among them."""
    seen: set[tuple[float, ...]] = set()
    rows = []
    scored = [entry for entry in report.history if entry.score is not None and entry.kind != "baseline"]
    for entry in sorted(scored, key=lambda entry: -(entry.score or 0.0)):
        key = tuple(round(value, 4) for value in entry.point.to_dict().values())
        if key in seen or not any(entry.point.ratios):
            continue
        seen.add(key)
        rows.append(entry)
    return rows[:ROWS]


def panel_html(standing: Standing, version: int) -> str:
    """The panel; ``version`` lets the page tell whether it has changed."""
    text, level = html.escape(status_text(standing)), _LEVELS.get(standing.state, "ok")
    parts = [f'<p class="crdiff-status crdiff-{level}">{text}</p>'] if text else []
    if standing.question is not None:  # the other pictures would tell which of the two is the best so far
        parts.append(_question(standing.question))
        return _panel(standing, version, parts)
    figures = [_figure("Dense", standing.dense), _figure("Best so far", standing.best)]
    if any(figures):
        parts.append(f'<div class="crdiff-search-pictures">{"".join(figures)}</div>')
    if standing.report is not None:
        marks = _marks(standing.report)
        parts.append(f'<div class="crdiff-search-charts">{draw_curve(marks)}{draw_map(marks)}</div>')
        parts.append(_table(standing))
    return _panel(standing, version, parts)


def _panel(standing: Standing, version: int, parts: list[str]) -> str:
    return (
        f'<div class="crdiff-search" data-crdiff-search="{standing.state}" data-crdiff-version="{version}" '
        f'data-crdiff-score="{html.escape(standing.score_name)}">'
        f"{''.join(parts)}</div>"
    )


def _question(question: Question) -> str:
    """Two pictures and three buttons; the page's script takes the arrow keys for them as well."""
    sides = "".join(
        f'<figure><img src="{url}" alt="{side} picture">{_answer(question, side, f"The {side} one {arrow}")}</figure>'
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
    from crdiff.search.objective import FAILED_SCORE

    def drawn(score: float | None) -> float | None:
        """What failed or was skipped counts as very bad, which would flatten all the others."""
        return None if score == FAILED_SCORE else score

    return [
        Mark(
            entry.number,
            drawn(entry.score),
            entry.point.to_dict(),
            entry.kind == "baseline" or not any(entry.point.ratios),
        )
        for entry in report.history
    ]


def _figure(name: str, shown: Snapshot | None) -> str:
    if shown is None:
        return ""
    score = "" if shown.score is None else f" <span>{score_text(shown.score)}</span>"
    return (
        f'<figure><img src="{shown.url}" alt="{name}"><figcaption><b>{name}</b>{score}'
        f"<small>{html.escape(shown.caption)}</small></figcaption></figure>"
    )


def _table(standing: Standing) -> str:
    assert standing.report is not None
    rows = best_ten(standing.report)
    if not rows:
        return ""
    head = "".join(f"<th>{name}</th>" for name in ("", "score", *GROUPS, "k", ""))
    body = "".join(_row(place, entry, standing) for place, entry in enumerate(rows, 1))
    return f'<table class="crdiff-search-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(place: int, entry: Evaluation, standing: Standing) -> str:
    k = standing.k_of(entry)
    ratios = "".join(f"<td>{entry.point[group]:.3f}</td>" for group in GROUPS)
    values = html.escape(json.dumps(applied(entry, standing)))
    button = f'<button type="button" class="crdiff-apply" data-crdiff-apply="{values}">Apply</button>'
    score = "" if entry.score is None else score_text(entry.score)
    return f"<tr><td>{place}</td><td>{score}</td>{ratios}<td>{k:.3g}</td><td>{button}</td></tr>"


def applied(entry: Evaluation, standing: Standing) -> dict[str, float | None]:
    """What the controls are set to; k stays as the user has it unless it was searched for."""
    values: dict[str, float | None] = {group: round(entry.point[group], 3) for group in GROUPS}
    values["k"] = round(entry.point.k, 2) if standing.varies_k else None
    return values


def remembered_html(found: Sequence[Found]) -> str:
    """What was found earlier for the prompt and size in the tab, each to apply; empty if there is nothing."""
    if not found:
        return ""
    rows = "".join(
        f'<li>{html.escape(one.describe())} <button type="button" class="crdiff-apply" '
        f'data-crdiff-apply="{html.escape(json.dumps(one.applied()))}">Apply</button></li>'
        for one in found
    )
    return f'<div class="crdiff-remembered">Found earlier for this prompt and size:<ul>{rows}</ul></div>'

"""The plots of a report, as SVG: scores and gains with their intervals, ratios, and scores over ratios (Figure 2)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from crdiff.evaluation.results import WayResult
from crdiff.evaluation.svg import Axis, colour, line, text, whole
from crdiff.evaluation.ways import DENSE, Drawing, changed
from crdiff.intervals import Interval
from crdiff.method.groups import GROUPS
from crdiff.method.schedule import Schedule
from crdiff.settings import Settings

Labels = Mapping[str, str]
"""Of the metrics, by name."""

_LEFT, _PANEL, _GAP, _ROW, _TOP = 260, 260, 40, 24, 30
_FAINT = 'stroke="currentColor" opacity="0.2"'
_DASHED = 'stroke="currentColor" opacity="0.5" stroke-dasharray="4 3"'
_HEIGHT = 260
_OF_RATIOS = ("enabled", "preset", "stages", *GROUPS)
_LEAST_RATIOS = 3
"""That a score over ratios is drawn of, the dense model's 0 among them."""


def plots(ways: Sequence[WayResult], baseline: str, labels: Labels) -> str:
    """All that there is to draw of the ways at a size.

    Args:
        ways: at the size.
        baseline: the way that gains are over.
        labels: of the metrics.
    """
    scores = dict.fromkeys(name for way in ways for name in way.scores)
    metrics = [*scores, *dict.fromkeys(name for way in ways for name in way.distances)]
    drawn = [score_plot(ways, name, labels.get(name, name), baseline) for name in scores]
    drawn += [curve(ways, name, labels.get(name, name)) for name in metrics]
    return "".join([*drawn, ratio_plot([way.drawing for way in ways])])


def score_plot(ways: Sequence[WayResult], metric: str, label: str, baseline: str) -> str:
    """Of each way the mean, and beside it the gain over the baseline, with their intervals."""
    scored = [(way.drawing.way, way.scores[metric]) for way in ways if metric in way.scores]
    start = _LEFT + _PANEL + _GAP
    means = _panel([score.mean for _, score in scored], _LEFT, label)
    gains = _panel([score.gain for _, score in scored], start, f"gain over {baseline}", zero=True)
    names = [text(_LEFT - 12, _row(row) + 4, name, "end") for row, (name, _) in enumerate(scored)]
    return whole(start + _PANEL + 20, _row(len(scored)) + 24, f"{label} by way", [*names, *means, *gains])


def ratio_plot(drawings: Sequence[Drawing]) -> str:
    """The ratios of each way that prunes, of all stages; empty where none does."""
    schedules = {one.way: one.settings.schedule for one in drawings if one.settings.enabled}
    pruned = [one for one in drawings if one.way in schedules and _mean_ratio(schedules[one.way])]
    if not pruned:
        return ""
    axis, rows = Axis(0.0, 1.0, _LEFT, _LEFT + _PANEL), len(pruned)
    parts = [*_grid(axis, rows, "{:.0%}"), text(_LEFT, 14, "ratios:")]
    for place, group in enumerate(GROUPS):
        parts.append(text(_LEFT + 60 + 60 * place, 14, group, fill=colour(2 * place, 0)))
    for row, drawing in enumerate(pruned):
        parts.append(text(_LEFT - 12, _row(row) + 4, drawing.way, "end"))
        k = "by stage" if schedules[drawing.way].has_own_k else f"{drawing.settings.k:g}"
        parts.append(text(_LEFT + _PANEL + 12, _row(row) + 4, f"k {k}"))
        for place, group in enumerate(GROUPS):
            values, y = [stage.ratios[group] for stage in schedules[drawing.way].stages], _row(row) + 6 * (place - 1)
            parts.append(line(axis.at(min(values)), y, axis.at(max(values)), y, f'stroke="{colour(2 * place, 0)}"'))
            parts += [_dot(axis.at(value), y, colour(2 * place, 0), 3) for value in values]
    return whole(_LEFT + _PANEL + 80, _row(rows) + 24, "ratios by way", parts)


def curve(ways: Sequence[WayResult], metric: str, label: str) -> str:
    """A metric over the mean ratio, for ways that differ in nothing else; empty with fewer than three ratios."""
    points = [(way, found) for way in ways if (found := _measured(way, metric)) is not None]
    dense = [(0.0, found) for way, found in points if way.drawing.way == DENSE]
    series: dict[str, list[tuple[float, Interval]]] = {}
    for way, found in points:
        settings = way.drawing.settings
        if settings.enabled and not settings.schedule.has_own_k:
            own = series.setdefault(_but_for_ratios(settings), [*dense])
            own.append((_mean_ratio(settings.schedule), found))
    series = {key: sorted(own, key=lambda one: one[0]) for key, own in series.items()}
    series = {key: own for key, own in series.items() if len({ratio for ratio, _ in own}) >= _LEAST_RATIOS}
    if not series:
        return ""
    every = [one for own in series.values() for one in own]
    x = Axis.around([ratio for ratio, _ in every], _LEFT / 3, _LEFT / 3 + 1.5 * _PANEL)
    y = Axis.around([end for _, found in every for end in _ends(found)], _HEIGHT - _TOP, 20)
    parts = [line(x.start, y.at(tick), x.end, y.at(tick), _FAINT) for tick in y.ticks]
    parts += [text(x.start - 8, y.at(tick) + 4, f"{tick:g}", "end") for tick in y.ticks]
    parts += [text(x.at(tick), y.start + 18, f"{tick:.0%}", "middle") for tick in x.ticks if tick >= 0.0]
    for number, (key, own) in enumerate(series.items()):
        stroke = colour(number, len(series))
        path = " ".join(f"{x.at(ratio):.1f},{y.at(found.value):.1f}" for ratio, found in own)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="2"/>')
        for ratio, found in own:
            low, high = min(_ends(found)), max(_ends(found))
            parts.append(line(x.at(ratio), y.at(low), x.at(ratio), y.at(high), f'stroke="{stroke}"'))
            parts.append(_dot(x.at(ratio), y.at(found.value), stroke, 4))
        parts.append(text(x.end + 12, 40 + 20 * number, key, fill=stroke))
    parts.append(text(x.end, _HEIGHT + 6, "mean ratio", "end"))
    parts.append(text(0, 12, label))
    return whole(x.end + _LEFT, _HEIGHT + 12, f"{label} over the ratios", parts)


def _panel(values: Sequence[Interval | None], start: float, head: str, *, zero: bool = False) -> Iterator[str]:
    """A row for each value, one that is not known being empty."""
    known = [end for value in values if value is not None for end in _ends(value)]
    if not known:
        return
    axis = Axis.around([*known, 0.0] if zero else known, start, start + _PANEL)
    yield text(start, 14, head)
    yield from _grid(axis, len(values), "{:g}")
    if zero:
        yield line(axis.at(0.0), _TOP, axis.at(0.0), _row(len(values)), _DASHED)
    for row, value in enumerate(values):
        if value is not None:
            ends = [axis.at(end) for end in _ends(value)]
            stroke = colour(row, len(values))
            yield line(min(ends), _row(row), max(ends), _row(row), f'stroke="{stroke}" stroke-width="2"')
            yield _dot(axis.at(value.value), _row(row), stroke, 5)


def _grid(axis: Axis, rows: int, form: str) -> Iterator[str]:
    for tick in axis.ticks:
        yield line(axis.at(tick), _TOP, axis.at(tick), _row(rows) - _ROW / 2 + 6, _FAINT)
        yield text(axis.at(tick), _row(rows) + 8, form.format(round(tick, 10)), "middle")


def _dot(x: float, y: float, fill: str, radius: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{fill}"/>'


def _row(number: int) -> float:
    return _TOP + _ROW * (number + 0.5)


def _ends(found: Interval) -> tuple[float, ...]:
    """The value, and the ends of its interval where these are known."""
    return (found.value, *(end for end in (found.low, found.high) if end is not None))


def _measured(way: WayResult, metric: str) -> Interval | None:
    if metric in way.scores:
        return way.scores[metric].mean
    return Interval(way.distances[metric], None, None) if metric in way.distances else None


def _mean_ratio(schedule: Schedule) -> float:
    """Over the groups and the steps."""
    ends = [*(stage.start for stage in schedule.stages[1:]), 1.0]
    return sum(fmean(stage.ratios) * (end - stage.start) for stage, end in zip(schedule.stages, ends))


def _but_for_ratios(settings: Settings) -> str:
    """What else a way is set to, in words: what it has in common with those of the same curve."""
    rest = {name: value for name, value in changed(settings).items() if name not in _OF_RATIOS}
    values = {name: f"{value:g}" if isinstance(value, float) else value for name, value in rest.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())

"""What an evaluation came to, in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from crdiff.evaluation.report import interval_text
from crdiff.evaluation.results import Results, WayResult


def lines(results: Results) -> Iterator[str]:
    """A line for each size and each of its ways, with the paper's figures where it has some."""
    for size, ways in results.sizes.items():
        yield f"{size}{size.order}:"
        for way in ways:
            yield f"  {way.drawing.way}: {'; '.join(_parts(way, results.baseline)) or f'{way.images} images'}"


def _parts(way: WayResult, baseline: str) -> Iterator[str]:
    for metric, score in way.scores.items():
        gain = "" if score.gain is None else f", {interval_text(score.gain, signs=True)} over {baseline}"
        yield f"{metric} {interval_text(score.mean)}{gain}{_paper(way, metric)}"
    for name, value in way.distances.items():
        yield f"{name} {value:.3f}{_paper(way, name)}"


def _paper(way: WayResult, metric: str) -> str:
    return f", paper {way.drawing.published[metric]:.3f}" if metric in way.drawing.published else ""

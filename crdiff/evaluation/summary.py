"""What an evaluation came to, in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crdiff.evaluation.report import interval_text
from crdiff.evaluation.results import Results, WayResult


def lines(results: Results, labels: Mapping[str, str]) -> Iterator[str]:
    """A line for each size and each of its ways, with the paper's figures where it has some.

    Args:
        results: to tell.
        labels: of the metrics.
    """
    for size, ways in results.sizes.items():
        yield f"{size}{size.order}:"
        for way in ways:
            yield f"  {way.drawing.way}: {'; '.join(_parts(way, results.baseline, labels)) or f'{way.images} images'}"


def _parts(way: WayResult, baseline: str, labels: Mapping[str, str]) -> Iterator[str]:
    for metric, score in way.scores.items():
        gain = "" if score.gain is None else f", {interval_text(score.gain, signs=True)} over {baseline}"
        yield f"{labels.get(metric, metric)} {interval_text(score.mean)}{gain}{_paper(way, metric)}"
    for name, value in way.distances.items():
        yield f"{labels.get(name, name)} {value:.3f}{_paper(way, name)}"


def _paper(way: WayResult, metric: str) -> str:
    return f", paper {way.drawing.published[metric]:.3f}" if metric in way.drawing.published else ""

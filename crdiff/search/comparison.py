"""How a search ends, wherever it runs: its best few against where it started, on fresh seeds; see ``fresh``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.search.errors import STOPPED, AbortSearchError, EvaluationError
from crdiff.search.evaluation import sentence_of
from crdiff.search.fresh import Gain, finalists, fresh_seeds, race
from crdiff.search.objective import EvaluateMany, Image, Objective, images_of, is_score
from crdiff.search.report import Report
from crdiff.search.strategies.point import Point, rounded

ANOTHER = "On fresh seeds another of the best few was better than the highest score."
NO_BETTER = "Nothing was better than where the search started, as far as these images tell."
_KIND = "fresh"
"""Of its lines in a journal."""


@dataclass(frozen=True)
class Compared:
    """How a comparison on fresh seeds came out.

    Attributes:
        report: of the search, whose best is the winner; its message tells of the comparison.
        gain: of the winner over the start; None if that was not measured.
    """

    report: Report
    gain: Gain | None = None


class FreshScores:
    """Scores of images with fresh seeds. Each is recorded, so that a comparison goes on where it was cut off.

    Args:
        objective: draws and scores.
        entries: recorded in this search; others than these scores are passed over.
        record: keeps one more entry.
        should_stop: asked before images are drawn.
    """

    def __init__(
        self,
        objective: Objective,
        entries: Iterable[Mapping[str, Any]],
        record: Callable[[Mapping[str, Any]], None],
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._objective, self._record, self._should_stop = objective, record, should_stop
        self._known: dict[tuple[str, str, int], float] = {}
        for entry in entries:
            if entry["kind"] == _KIND:
                image = str(entry["prompt"]), int(entry["seed"])
                self._known[self._key(Point.from_dict(entry["point"]), image)] = float(entry["score"])

    def __call__(self, point: Point, images: Sequence[Image]) -> list[float]:
        """The scores of some images.

        Raises:
            AbortSearchError: the objective ended the search, or it was stopped.
            EvaluationError: the images could not be drawn or scored.
            JournalError: a score could not be recorded.
        """
        missing = [image for image in images if self._key(point, image) not in self._known]
        if missing:
            if self._should_stop():
                raise AbortSearchError(STOPPED, "stopped")
            for image, found in zip(missing, self._drawn(point, missing)):
                prompt, seed = image
                score = float(found) if is_score(found) else self._objective.failed
                self._known[self._key(point, image)] = score
                entry = {"kind": _KIND, "point": point.to_dict(), "prompt": prompt, "seed": seed, "score": score}
                self._record(entry)
        return [self._known[self._key(point, image)] for image in images]

    def _drawn(self, point: Point, images: Sequence[Image]) -> Sequence[float]:
        try:
            return self._objective.draw(point, images)
        except CRDiffError:
            raise
        except Exception as error:  # whatever a host or a scorer raises
            raise EvaluationError(sentence_of(error)) from error

    def _key(self, point: Point, image: Image) -> tuple[str, str, int]:
        return (self._objective.signature(point), *image)


def is_due(report: Report, seeds: int) -> bool:
    """Whether a search has come to an end at which something can be compared, with so many fresh seeds."""
    return seeds > 0 and report.state == "done" and report.best is not None and not report.best.point.is_dense


def compare(report: Report, start: Point, objective: Objective, seeds: int, score: EvaluateMany) -> Compared:
    """Let the best few and the start race on half of the fresh seeds, and measure the winner's gain on the others.

    Args:
        report: of the search, at an end where this is due.
        start: where the search started.
        objective: has the prompts, and the image seeds that are not fresh.
        seeds: how many fresh ones.
        score: draws and scores images.
    """
    rounds = [images_of(objective.prompts, [seed]) for seed in fresh_seeds(objective.seeds, seeds)]
    racing = seeds // 2
    try:
        best = race(finalists(report.history, start), rounds[:racing], score)
        scored = {rounded(one.point): one for one in reversed(report.history) if one.score is not None}
        entry = scored.get(rounded(best), report.best)
        changed, report = entry != report.best, replace(report, best=entry)
        if rounded(best) == rounded(start):
            return Compared(_adding(report, NO_BETTER))
        if changed:
            report = _adding(report, ANOTHER)
        differences: list[float] = []
        for images in rounds[racing:]:
            differences += [one - other for one, other in zip(score(best, images), score(start, images))]
    except CRDiffError as error:
        return Compared(cut_off(report, error))
    if len(differences) < 2:
        return Compared(_adding(report, "One image is too few for a comparison."))
    gain = Gain.of(differences)
    return Compared(_adding(report, gain.sentence), gain)


def cut_off(report: Report, error: Exception) -> Report:
    """The report of a search whose comparison was ended by an error; the search itself is over, and its find stays."""
    stopped = isinstance(error, AbortSearchError) and error.state == "stopped"
    report = replace(report, state="stopped" if stopped else report.state)
    return _adding(report, f"The comparison on fresh seeds ended: {error}")


def _adding(report: Report, sentence: str) -> Report:
    return replace(report, message=f"{report.message} {sentence}")

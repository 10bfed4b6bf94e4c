"""Scoring of one configuration: what is known is not drawn again, and what cannot win is cut early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crdiff.search.errors import AbortSearchError, EvaluationError, JournalError
from crdiff.search.objective import Objective, is_score
from crdiff.search.space import Point

_LEAST_PAIRS = 4
_STANDARD_ERRORS = 2.5


@dataclass(frozen=True)
class Measurement:
    """What is known of one configuration.

    Attributes:
        scores: of each picture; None where it was not needed.
        score: the mean over all pictures; None if some were not drawn.
        at_most: the mean cannot be higher; equals ``score`` where that is known.
        drawn: pictures drawn for it now.
        failed: how many of these failed.
        error: of the last one that failed.
    """

    scores: tuple[float | None, ...]
    score: float | None
    at_most: float | None
    drawn: int = 0
    failed: int = 0
    error: str = ""


@dataclass
class _Score:
    value: float
    error: str = ""


Record = Callable[[Mapping[str, Any]], None]


class Evaluator:
    """Scores configurations by an objective and remembers every picture's score.

    Attributes:
        drawn: pictures drawn or taken from the journal.
        saved_by_racing: pictures that racing made unnecessary (less those drawn later after all).
        saved_by_repeats: pictures that were known when a configuration came again.
        seconds: spent on drawing, in all runs of this search.
        note: a sentence for the user, on what is odd about the scores.
    """

    def __init__(self, objective: Objective, record: Record) -> None:
        self.objective = objective
        self.drawn = 0
        self.saved_by_racing = 0
        self.saved_by_repeats = 0
        self.seconds = 0.0
        self.note = ""
        self._record = record
        self._pictures = objective.pictures
        self._bound = objective.bound
        self._known: dict[str, dict[int, _Score]] = {}
        self._used: dict[str, set[int]] = {}
        self._cut: dict[str, int] = {}
        self._sums = [(0.0, 0)] * len(self._pictures)

    def remember(self, scores: Sequence[Mapping[str, Any]]) -> None:
        """Take the pictures' scores from the lines of a journal."""
        for entry in scores:
            point = Point.from_dict(entry["point"])
            known = self._known.setdefault(self.objective.signature(point), {})
            known[int(entry["picture"])] = _Score(float(entry["score"]), str(entry.get("error", "")))
            self.seconds += float(entry["seconds"])

    def know(self, point: Point, scores: Sequence[float]) -> None:
        """Take a configuration's scores, one for each picture, that another worker measured."""
        signature = self.objective.signature(point)
        self._known.setdefault(signature, {}).update({place: _Score(score) for place, score in enumerate(scores)})
        self._used.setdefault(signature, set()).update(range(len(scores)))

    def is_new(self, point: Point) -> bool:
        """Whether the configuration was not measured before in this search."""
        return not self._used.get(self.objective.signature(point))

    def measure(
        self,
        point: Point,
        needed: float | None = None,
        rival: Point | None = None,
        halt: Callable[[], bool] = lambda: False,
    ) -> Measurement | None:
        """Score a configuration, cutting it once its mean cannot exceed ``needed``, or hardly can against ``rival``.

        Returns:
            The measurement, or None if ``halt`` became true; what was drawn until then is kept.

        Raises:
            AbortSearchError: the objective ended the search.
            JournalError: a score could not be written; it is kept and written with the next one.
        """
        signature = self.objective.signature(point)
        known = self._known.setdefault(signature, {})
        used = self._used.setdefault(signature, set())
        repeated = len(used)
        rivals = self._rivals(rival)
        scores: dict[int, float] = {}
        drawn: list[int] = []
        order = self._order()
        while order and not self._hopeless(scores, needed, rivals):
            # Parts of a fixed size, whatever is known: a resumed search then asks for the very same pictures.
            part, order = order[: self.objective.batch], order[self.objective.batch :]
            missing = [picture for picture in part if picture not in known]
            if missing:
                if halt():
                    return None
                self._draw(point, missing, known)
                drawn += missing
            for picture in part:
                scores[picture] = known[picture].value
                self._use(picture, used, known[picture].value)
        self.saved_by_repeats += min(repeated, len(scores))
        cut = len(self._pictures) - len(used)
        self.saved_by_racing += cut - self._cut.get(signature, 0)
        self._cut[signature] = cut
        errors = [known[picture].error for picture in drawn if known[picture].error]
        every = tuple(scores.get(picture) for picture in range(len(self._pictures)))
        mean = math.fsum(scores.values()) / len(every) if len(scores) == len(every) else None
        at_most = mean if self._bound is None else self._highest_mean(scores, self._bound)
        return Measurement(every, mean, at_most, len(drawn), len(errors), errors[-1] if errors else "")

    def _order(self) -> list[int]:
        """Pictures that scored worst so far first: they show soonest that a mean cannot be reached."""
        if self.objective.racing == "likely":  # which would be a biased sample
            return list(range(len(self._pictures)))
        means = [total / count if count else 0.0 for total, count in self._sums]
        return sorted(range(len(self._pictures)), key=lambda picture: (means[picture], picture))

    def _rivals(self, rival: Point | None) -> list[float] | None:
        """The scores of the rival's pictures, if all were measured."""
        if rival is None or self.objective.racing != "likely":
            return None
        signature = self.objective.signature(rival)
        if len(self._used.get(signature, ())) < len(self._pictures):
            return None
        return [self._known[signature][picture].value for picture in range(len(self._pictures))]

    def _hopeless(self, scores: Mapping[int, float], needed: float | None, rivals: list[float] | None) -> bool:
        if needed is None:
            return False
        if self._bound is not None and self._highest_mean(scores, self._bound) <= needed:
            return True
        return rivals is not None and probable_most(scores, rivals) <= needed

    def _highest_mean(self, scores: Mapping[int, float], bound: float) -> float:
        # fsum rounds once, so that this is never below the mean that the missing scores would give.
        missing = len(self._pictures) - len(scores)
        return math.fsum([*scores.values(), *[bound] * missing]) / len(self._pictures)

    def _use(self, picture: int, used: set[int], score: float) -> None:
        if picture in used:
            return
        used.add(picture)
        self.drawn += 1
        total, count = self._sums[picture]
        self._sums[picture] = (total + score, count + 1)
        if self._bound is not None and score > self._bound:
            self.note = (
                f"A picture scored {score:.3g}, above the scorer's stated maximum of {self._bound:.3g}; "
                "from there on no evaluation was cut early."
            )
            self._bound = None

    def _draw(self, point: Point, pictures: Sequence[int], known: dict[int, _Score]) -> None:
        started = time.monotonic()
        found = self._scores(point, pictures)
        if found is None:  # too large a batch, or one bad picture among them
            for picture in pictures:
                self._draw(point, [picture], known)
            return
        seconds = time.monotonic() - started
        self.seconds += seconds
        known.update(zip(pictures, found))  # first of all: whatever happens next, they are paid for
        fault: JournalError | None = None
        for picture, score in zip(pictures, found):
            try:
                self._write(point, picture, score, seconds / len(pictures))
            except JournalError as error:  # it has the line, and must get the others as well
                fault = error
        if fault is not None:
            raise fault

    def _write(self, point: Point, picture: int, score: _Score, seconds: float) -> None:
        entry = {"kind": "score", "point": point.to_dict(), "picture": picture, "score": score.value}
        if score.error:
            entry["error"] = score.error
        self._record({**entry, "seconds": round(seconds, 3)})

    def _scores(self, point: Point, pictures: Sequence[int]) -> list[_Score] | None:
        """The scores of some pictures, a failed one with its error; None if they must be tried one by one."""
        failed = self.objective.failed
        try:
            values = list(self.objective.draw(point, [self._pictures[picture] for picture in pictures]))
        except AbortSearchError:
            raise
        except EvaluationError as error:
            return [_Score(failed, _sentence(error)) for _ in pictures]
        except Exception as error:
            return None if len(pictures) > 1 else [_Score(failed, _sentence(error))]
        if len(values) != len(pictures):
            raise AbortSearchError(f"The scorer gave {len(values)} scores for {len(pictures)} pictures.")
        return [
            _Score(float(value)) if is_score(value) else _Score(failed, f"the score {value!r} is no finite number.")
            for value in values
        ]


class Failures:
    """Counts configurations in a row of which no picture that was drawn could be scored.

    Attributes:
        pictures: that failed in this row.
        since: evaluations that were made before it.
        sentence: for the user, on why the search ends.
    """

    def __init__(self, limit: int) -> None:
        self.pictures = 0
        self.since = 0
        self.sentence = ""
        self._limit = limit
        self._count = 0

    def add(self, found: Measurement, evaluations: int) -> bool:
        """Take a measurement made after so many evaluations; True if it is one failure too many."""
        if found.drawn == 0:
            return False
        if found.failed < found.drawn:
            self._count = self.pictures = 0
            return False
        if self._count == 0:
            self.since = evaluations
        self._count += 1
        self.pictures += found.drawn
        self.sentence = f"The search ended after {self._count} failed evaluations in a row; the last one: {found.error}"
        return self._count >= self._limit


def probable_most(scores: Mapping[int, float], rivals: Sequence[float]) -> float:
    """The mean that a configuration will hardly exceed, from its pictures so far and its rival's pictures.

    The missing scores are estimated from the mean difference to the rival's, plus 2.5 standard errors of it.
    """
    count, missing = len(scores), len(rivals) - len(scores)
    if count < _LEAST_PAIRS:
        return math.inf
    gains = [score - rivals[picture] for picture, score in scores.items()]
    gain = math.fsum(gains) / count
    spread = math.fsum((value - gain) ** 2 for value in gains) / (count - 1)
    mean = (math.fsum(rivals) + math.fsum(gains) + missing * gain) / len(rivals)
    error = math.sqrt(spread * missing * (1.0 + missing / count)) / len(rivals)
    return mean + _STANDARD_ERRORS * error


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:300]

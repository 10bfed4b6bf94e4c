"""Scoring of one configuration: what is known is not drawn again, and what cannot win is cut short."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crdiff.search.errors import AbortSearchError, EvaluationError, JournalError
from crdiff.search.objective import Objective, is_score
from crdiff.search.strategies.point import Point

_LEAST_PAIRS = 4
_STANDARD_ERRORS = 2.5


@dataclass(frozen=True)
class Measurement:
    """What is known of one configuration.

    Attributes:
        scores: of each image; None where it was not needed.
        score: the mean over all images; None if some were not drawn.
        at_most: the mean cannot be higher; equals ``score`` where that is known.
        drawn: images drawn for it now.
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
    """Scores configurations by an objective and remembers every image's score.

    Attributes:
        drawn: images drawn or taken from the journal.
        saved_by_racing: images that racing made unnecessary (less those drawn later after all).
        saved_by_repeats: images that were known when a configuration came again.
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
        self._images = objective.images
        self._bound = objective.bound
        self._known: dict[str, dict[int, _Score]] = {}
        self._used: dict[str, set[int]] = {}
        self._cut: dict[str, int] = {}
        self._sums = [(0.0, 0)] * len(self._images)

    def remember(self, scores: Sequence[Mapping[str, Any]]) -> None:
        """Take scores from the lines of a journal."""
        for entry in scores:
            point = Point.from_dict(entry["point"])
            known = self._known.setdefault(self.objective.signature(point), {})
            known[int(entry["picture"])] = _Score(float(entry["score"]), str(entry.get("error", "")))
            self.seconds += float(entry["seconds"])

    def know(self, point: Point, scores: Sequence[float]) -> None:
        """Take a configuration's scores, one for each image, as another worker measured them."""
        signature = self.objective.signature(point)
        self._known.setdefault(signature, {}).update({place: _Score(score) for place, score in enumerate(scores)})
        self._used.setdefault(signature, set()).update(range(len(scores)))

    def is_new(self, point: Point) -> bool:
        """Whether the configuration has not been measured in this search."""
        return not self._used.get(self.objective.signature(point))

    def measure(
        self,
        point: Point,
        threshold: float | None = None,
        incumbent: Point | None = None,
        halt: Callable[[], bool] = lambda: False,
    ) -> Measurement | None:
        """Score a configuration; cut it short once its mean cannot, or is unlikely to, exceed ``threshold``.

        Args:
            point: the configuration.
            threshold: scores up to this one are all the same to the caller; None draws every image.
            incumbent: the configuration that it has to beat, with which images are compared one by one.
            halt: asked before images are drawn; once it is true the evaluation ends.

        Returns:
            The measurement, or None if ``halt`` was true; what was drawn until then is kept.

        Raises:
            AbortSearchError: the objective ended the search.
            JournalError: a score could not be written; it is kept and written with the next one.
        """
        signature = self.objective.signature(point)
        known = self._known.setdefault(signature, {})
        used = self._used.setdefault(signature, set())
        repeated = len(used)
        to_beat = self._scores_of(incumbent)
        scores: dict[int, float] = {}
        drawn: list[int] = []
        order = self._order()
        while order and not self._hopeless(scores, threshold, to_beat):
            # Parts of a fixed size, whatever is known: a resumed search then asks for the very same images.
            part, order = order[: self.objective.batch], order[self.objective.batch :]
            missing = [image for image in part if image not in known]
            if missing:
                if halt():
                    return None
                self._draw(point, missing, known)
                drawn += missing
            for image in part:
                scores[image] = known[image].value
                self._use(image, used, known[image].value)
        self.saved_by_repeats += min(repeated, len(scores))
        cut = len(self._images) - len(used)
        self.saved_by_racing += cut - self._cut.get(signature, 0)
        self._cut[signature] = cut
        errors = [known[image].error for image in drawn if known[image].error]
        every = tuple(scores.get(image) for image in range(len(self._images)))
        mean = math.fsum(scores.values()) / len(every) if len(scores) == len(every) else None
        at_most = mean if self._bound is None else self._highest_mean(scores, self._bound)
        return Measurement(every, mean, at_most, len(drawn), len(errors), errors[-1] if errors else "")

    def _order(self) -> list[int]:
        """The images that have scored worst come first: they show soonest that the threshold cannot be exceeded."""
        if self.objective.racing == "likely":  # which would be a biased sample
            return list(range(len(self._images)))
        means = [total / count if count else 0.0 for total, count in self._sums]
        return sorted(range(len(self._images)), key=lambda image: (means[image], image))

    def _scores_of(self, incumbent: Point | None) -> list[float] | None:
        """The scores of the incumbent's images, if racing compares with them and all were measured."""
        if incumbent is None or self.objective.racing != "likely":
            return None
        signature = self.objective.signature(incumbent)
        if len(self._used.get(signature, ())) < len(self._images):
            return None
        return [self._known[signature][image].value for image in range(len(self._images))]

    def _hopeless(self, scores: Mapping[int, float], threshold: float | None, to_beat: list[float] | None) -> bool:
        if threshold is None:
            return False
        if self._bound is not None and self._highest_mean(scores, self._bound) <= threshold:
            return True
        return to_beat is not None and likely_highest_mean(scores, to_beat) <= threshold

    def _highest_mean(self, scores: Mapping[int, float], bound: float) -> float:
        # fsum rounds once, so that this is never below the mean that the missing scores would give.
        missing = len(self._images) - len(scores)
        return math.fsum([*scores.values(), *[bound] * missing]) / len(self._images)

    def _use(self, image: int, used: set[int], score: float) -> None:
        if image in used:
            return
        used.add(image)
        self.drawn += 1
        total, count = self._sums[image]
        self._sums[image] = (total + score, count + 1)
        if self._bound is not None and score > self._bound:
            self.note = (
                f"An image scored {score:.3g}, above the scorer's stated maximum of {self._bound:.3g}; "
                "from there on no evaluation was cut early."
            )
            self._bound = None

    def _draw(self, point: Point, images: Sequence[int], known: dict[int, _Score]) -> None:
        started = time.monotonic()
        found = self._scores(point, images)
        if found is None:  # too large a batch, or one bad image among them
            for image in images:
                self._draw(point, [image], known)
            return
        seconds = time.monotonic() - started
        self.seconds += seconds
        known.update(zip(images, found))  # first of all: whatever happens next, they are paid for
        fault: JournalError | None = None
        for image, score in zip(images, found):
            try:
                self._write(point, image, score, seconds / len(images))
            except JournalError as error:  # it has the line, and must get the others as well
                fault = error
        if fault is not None:
            raise fault

    def _write(self, point: Point, image: int, score: _Score, seconds: float) -> None:
        entry = {"kind": "score", "point": point.to_dict(), "picture": image, "score": score.value}
        if score.error:
            entry["error"] = score.error
        self._record({**entry, "seconds": round(seconds, 3)})

    def _scores(self, point: Point, images: Sequence[int]) -> list[_Score] | None:
        """The scores of some images, a failed one with its error; None if they must be tried one by one."""
        failed = self.objective.failed
        try:
            values = list(self.objective.draw(point, [self._images[image] for image in images]))
        except AbortSearchError:
            raise
        except EvaluationError as error:
            return [_Score(failed, sentence_of(error)) for _ in images]
        except Exception as error:
            return None if len(images) > 1 else [_Score(failed, sentence_of(error))]
        if len(values) != len(images):
            raise AbortSearchError(f"The scorer gave {len(values)} scores for {len(images)} images.")
        return [
            _Score(float(value)) if is_score(value) else _Score(failed, f"the score {value!r} is no finite number.")
            for value in values
        ]


class Failures:
    """Counts configurations in a row of which no image that was drawn could be scored.

    Attributes:
        images: that failed in this row.
        since: evaluations that were made before it.
        sentence: for the user, on why the search ends.
    """

    def __init__(self, limit: int) -> None:
        self.images = 0
        self.since = 0
        self.sentence = ""
        self._limit = limit
        self._count = 0

    def add(self, found: Measurement, evaluations: int) -> bool:
        """Take a measurement, made after ``evaluations`` others; True if it is one failure too many."""
        if found.drawn == 0:
            return False
        if found.failed < found.drawn:
            self._count = self.images = 0
            return False
        if self._count == 0:
            self.since = evaluations
        self._count += 1
        self.images += found.drawn
        self.sentence = f"The search ended after {self._count} failed evaluations in a row; the last one: {found.error}"
        return self._count >= self._limit


def likely_highest_mean(scores: Mapping[int, float], to_beat: Sequence[float]) -> float:
    """The mean that a configuration is unlikely to exceed, from its images so far and all of the incumbent's.

    The missing scores are estimated from the mean difference to the incumbent's, plus 2.5 standard errors of it.
    """
    count, missing = len(scores), len(to_beat) - len(scores)
    if count < _LEAST_PAIRS:
        return math.inf
    gains = [score - to_beat[image] for image, score in scores.items()]
    gain = math.fsum(gains) / count
    spread = math.fsum((value - gain) ** 2 for value in gains) / (count - 1)
    mean = (math.fsum(to_beat) + math.fsum(gains) + missing * gain) / len(to_beat)
    error = math.sqrt(spread * missing * (1.0 + missing / count)) / len(to_beat)
    return mean + _STANDARD_ERRORS * error


def sentence_of(error: Exception) -> str:
    """What an error of a host or a scorer says, in one line of at most 300 characters."""
    text = " ".join(str(error).split())
    return (text or type(error).__name__)[:300]

"""The loop of a search: a strategy proposes, the objective scores, the journal records."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from crdiff import checks
from crdiff.search.comparison import Compared, FreshScores, compare, cut_off, is_due
from crdiff.search.errors import STOPPED, AbortSearchError, JournalError
from crdiff.search.evaluation import Evaluator, Failures, Measurement
from crdiff.search.journal import MemoryJournal, valid_entries
from crdiff.search.objective import Objective
from crdiff.search.report import Evaluation, Report
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.space import Space
from crdiff.search.strategies.strategy import Proposal, Strategy

EVALUATIONS = 40
"""The budget of a search that names none."""
_REPEATS_IN_A_ROW = 1000


@dataclass(frozen=True)
class Budget:
    """What a search may cost, including what its journal already holds.

    Attributes:
        evaluations: configurations measured, repeats not counted; None is no limit.
        minutes: of drawing and scoring; None is no limit.
    """

    evaluations: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.evaluations is not None:
            checks.integer("The budget of evaluations", self.evaluations, 1)
        if self.minutes is not None:
            checks.number("The budget of minutes", self.minutes, 0, low_open=True)


class ScoreJournal(Protocol):
    """Where scores are recorded: ``Journal`` or ``MemoryJournal``."""

    def open(self, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What is recorded of a search with these settings."""

    def append(self, entry: Mapping[str, Any]) -> None:
        """Record one more entry; it is safe when this returns."""


class Search:
    """A search over pruning ratios.

    Every run starts the strategy afresh and takes known scores from the journal, so that a resumed search, in this
    process or another, continues exactly as if it had never been interrupted.

    Args:
        space: what may be varied.
        strategy: what to try; in its initial state.
        objective: how configurations are judged.
        journal: where scores are recorded; None keeps them in memory.
        baseline: a configuration to measure in full first, such as ``DENSE``; it counts as an evaluation.
    """

    def __init__(
        self,
        space: Space,
        strategy: Strategy,
        objective: Objective,
        journal: ScoreJournal | None = None,
        baseline: Point | None = None,
    ) -> None:
        self.space = space
        self.strategy = strategy
        self.objective = objective
        self.journal: ScoreJournal = journal or MemoryJournal()
        self.baseline = baseline
        self._start = strategy.state()

    def settings(self) -> dict[str, Any]:
        """What the course of the search depends on; a journal is bound to it."""
        return {
            "space": self.space.to_dict(),
            "strategy": self.strategy.settings(),
            "objective": self.objective.settings(),
            "baseline": self.baseline.to_dict() if self.baseline else None,
        }

    def run(
        self,
        budget: Budget | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Report], None] = lambda report: None,
    ) -> Report:
        """Search until the budget is used up, the strategy has come to its end, or ``should_stop`` returns true.

        ``should_stop`` is asked before every image, and ``on_progress`` told after every image and evaluation.
        An error on the way ends the search with the best so far and one sentence.

        Raises:
            JournalError: the journal cannot be read or belongs to another search; nothing was done.
        """
        self.strategy.restore(self._start)
        kept = self.journal.open(self.settings())
        return _Run(self, kept, budget or Budget(), should_stop, on_progress).run()

    def compare(
        self, report: Report, start: Point, seeds: int, should_stop: Callable[[], bool] = lambda: False
    ) -> Compared:
        """Compare the best few with ``start`` on so many fresh seeds, if the search has come to its end."""
        if not is_due(report, seeds):
            return Compared(report)
        try:
            entries = self.journal.open(self.settings())
        except JournalError as error:
            return Compared(cut_off(report, error))
        scores = FreshScores(self.objective, entries, self.journal.append, should_stop)
        return compare(report, start, self.objective, seeds, scores)


class _Run:
    """One call of ``Search.run``."""

    def __init__(
        self,
        search: Search,
        kept: list[dict[str, Any]],
        budget: Budget,
        should_stop: Callable[[], bool],
        on_progress: Callable[[Report], None],
    ) -> None:
        self.search = search
        self.strategy = search.strategy
        self.budget = budget
        self.should_stop = should_stop
        self.on_progress = on_progress
        self.evaluator = Evaluator(search.objective, self._record)
        try:
            scores, evaluations = valid_entries(kept)
            self.evaluator.remember(scores)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"A line of the journal cannot be used ({error}); move it away to start afresh."
            ) from None
        self.journaled = len(evaluations)
        self.failures = Failures(search.objective.failures)
        self.history: list[Evaluation] = []
        self.evaluations = 0
        self.baseline: Evaluation | None = None
        self.best: Evaluation | None = None
        self.best_score = -math.inf
        self.drawing_new = False
        self.drawn_of_current = 0
        self.replaying = bool(kept)
        self.halted: tuple[str, str] | None = None

    def run(self) -> Report:
        try:
            state, message = self._loop()
        except AbortSearchError as error:
            state, message = error.state, str(error)
        except JournalError as error:
            state, message = "failed", str(error)
        report = self._report(state, " ".join(filter(None, [message, self.evaluator.note])))
        self.on_progress(report)
        return report

    def _loop(self) -> tuple[str, str]:
        if self.search.baseline is not None:
            self.baseline = self._measure(self.search.baseline, "baseline", None)
            if self.baseline is None:
                return self.halted or ("stopped", "")
        repeats = 0
        while repeats < _REPEATS_IN_A_ROW:
            proposal = self.strategy.ask()
            if proposal is None:
                return "done", "The search has come to its end."
            found = self._measure(proposal.point, proposal.kind, proposal)
            if found is None:
                return self.halted or ("stopped", "")
            repeats = repeats + 1 if found.repeat else 0
        return "done", "Every configuration that the search still proposes was measured before."

    def _measure(self, point: Point, kind: str, proposal: Proposal | None) -> Evaluation | None:
        self.drawing_new, self.drawn_of_current = self.evaluator.is_new(point), 0
        threshold, incumbent = (proposal.threshold, proposal.incumbent) if proposal else (None, None)
        found = self.evaluator.measure(point, threshold, incumbent, self._halt)
        if found is None:
            return None
        if self.failures.add(found, len(self.history)):
            back = {"pictures": self.failures.images, "evaluations": self.failures.since}
            self.search.journal.append({"kind": "retry", **back})
            raise AbortSearchError(self.failures.sentence)
        accepted = self.strategy.tell(proposal, found.score) if proposal else False
        return self._keep(point, kind, found, accepted)

    def _keep(self, point: Point, kind: str, found: Measurement, accepted: bool) -> Evaluation:
        number, repeat = len(self.history) + 1, not self.drawing_new
        entry = Evaluation(number, point, kind, found.score, found.at_most, found.scores, accepted, repeat)
        self.history.append(entry)
        self.drawn_of_current = 0
        if self.drawing_new and not self.evaluator.is_new(point):
            self.evaluations += 1
        if found.score is not None and found.score > self.best_score:
            self.best, self.best_score = entry, found.score
        if number > self.journaled:
            self.search.journal.append({"kind": "evaluation", **entry.to_dict()})
            self.on_progress(self._report())
        return entry

    def _halt(self) -> bool:
        """Called before images are drawn, hence never while known scores are replayed."""
        if self.replaying:
            self.replaying = False
            self.on_progress(self._report())
        budget, spent = self.budget, self.evaluator.seconds
        if self.should_stop():
            self.halted = ("stopped", STOPPED)
        elif budget.evaluations is not None and self.evaluations >= budget.evaluations:
            self.halted = ("done", f"The budget of {budget.evaluations} evaluations is used up.")
        elif budget.minutes is not None and spent >= 60.0 * budget.minutes:
            self.halted = ("done", f"The budget of {budget.minutes:g} minutes is used up.")
        return self.halted is not None

    def _record(self, entry: Mapping[str, Any]) -> None:
        self.search.journal.append(entry)
        self.drawn_of_current += 1
        self.on_progress(self._report())

    def _report(self, state: str = "running", message: str = "") -> Report:
        return Report(
            state=state,
            message=message,
            evaluations=self.evaluations,
            images=self.evaluator.drawn,
            images_of=len(self.search.objective.images),
            saved_by_racing=self.evaluator.saved_by_racing,
            saved_by_repeats=self.evaluator.saved_by_repeats,
            seconds=self.evaluator.seconds,
            seconds_left=self._seconds_left(),
            baseline=self.baseline,
            best=self.best,
            history=tuple(self.history),
            status=self.strategy.status(),
        )

    def _seconds_left(self) -> float | None:
        spent, left = self.evaluator.seconds, []
        if self.budget.minutes is not None:
            left.append(60.0 * self.budget.minutes - spent)
        if self.budget.evaluations is not None and self.evaluations:
            share = self.drawn_of_current / len(self.search.objective.images)
            done = self.evaluations + share * self.drawing_new
            left.append(spent / done * (self.budget.evaluations - done))
        return max(0.0, min(left)) if left else None

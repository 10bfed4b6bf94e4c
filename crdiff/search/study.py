"""A search that several workers share, each with its own WebUI, through an Optuna study.

A worker that dies loses the trial it was running, so that a starting point it had claimed is tried by another;
everything else is in the study's storage. Trials are always scored in full: the threshold of a shared walk is not
known beforehand, so that nothing can be cut short.

At its end one worker after the other compares the best few on fresh seeds. The first one draws, and what it has drawn
is in the study for the others, who find the same.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from crdiff.search.comparison import Compared, FreshScores, compare, cut_off, is_due
from crdiff.search.errors import STOPPED, AbortSearchError, JournalError
from crdiff.search.evaluation import Evaluator, Failures
from crdiff.search.journal import differing, plain
from crdiff.search.objective import Objective
from crdiff.search.optuna_sampler import KIND, distributions, sampler_for
from crdiff.search.report import Evaluation, Report
from crdiff.search.search import Budget
from crdiff.search.strategies.point import Point
from crdiff.search.strategies.strategy import Strategy
from crdiff.search.workers import Workers

# After the sampler, whose module says in words that Optuna is missing.
import optuna  # isort: skip
from optuna.storages import journal  # isort: skip
from optuna.trial import TrialState  # isort: skip

_SETTINGS = "crdiff"
_SCORES = "crdiff_scores"
_REPEAT = "crdiff_repeat"
_FRESH = "crdiff_fresh"
_JOURNAL_FILE = "journal://"
_TRIES = 5
_RETRY_S = 0.2
_MADE_AT_ONCE = ("already exists", "unique constraint", "duplicate")
"""What databases say of tables that another worker makes at the same moment."""
_NOT_YET = "The best few are compared on fresh seeds once the shared search itself has come to its end."


def open_storage(url: str) -> optuna.storages.BaseStorage:
    """The storage of an Optuna URL, such as ``sqlite:///study.db`` or ``postgresql://...``, or of a journal file.

    A journal file is written ``journal://PATH``; all workers must see it in the same folder.

    Raises:
        JournalError: there is no storage there, or it cannot be reached.
    """
    try:
        if url.startswith(_JOURNAL_FILE):
            path = url[len(_JOURNAL_FILE) :]
            # The other lock is a symbolic link, which Windows keeps for administrators.
            return optuna.storages.JournalStorage(
                journal.JournalFileBackend(path, lock_obj=journal.JournalFileOpenLock(path))
            )
        return _database(url)
    except Exception as error:  # whatever the URL's driver raises
        raise JournalError(f"The storage {url!r} cannot be opened ({_first_line(error)}).") from None


def _database(url: str) -> optuna.storages.BaseStorage:
    for _ in range(_TRIES):
        try:
            return optuna.storages.get_storage(url)
        except Exception as error:
            if not any(words in str(error).lower() for words in _MADE_AT_ONCE):
                raise
        time.sleep(_RETRY_S)
    return optuna.storages.get_storage(url)


def quiet() -> None:
    """Optuna's own remarks on studies and trials are not shown; for programs that say more themselves."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudySearch:
    """One worker of a shared search.

    Args:
        storage: see ``open_storage``.
        name: of the study; it is made if it does not exist.
        strategy: what to try; in its initial state.
        objective: how configurations are judged.
        identity: what the scores depend on besides, as plain JSON: the checkpoint, the size, the steps and the like.

    Raises:
        SettingsError: several workers cannot share a search by this strategy.
        JournalError: the storage cannot be reached, or its study belongs to another search.
    """

    def __init__(
        self,
        storage: str,
        name: str,
        strategy: Strategy,
        objective: Objective,
        *,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        self.objective = replace(objective, racing="off")
        self.sampler = sampler_for(strategy)
        settings = {
            **(identity or {}),
            "space": self.sampler.space.to_dict(),
            "starts": [point.to_dict() for point in self.sampler.starts],
            "seed": self.sampler.seed,
            **self.sampler.settings(),
            "objective": self.objective.settings(),
        }
        opened = open_storage(storage)
        try:
            self.study = optuna.create_study(
                storage=opened, study_name=name, sampler=self.sampler, direction="maximize", load_if_exists=True
            )
            found = self.study.user_attrs.get(_SETTINGS)
            if found is None:
                self.study.set_user_attr(_SETTINGS, plain(settings))
        except Exception as error:  # whatever the storage's driver raises
            raise JournalError(f"The study {name!r} cannot be opened ({_first_line(error)}).") from None
        if found is not None and (difference := differing(found, plain(settings))):
            raise JournalError(f"The study {name!r} was made with {difference}; give the search a name of its own.")
        self._workers = Workers(self.study)
        self._recalled: set[int] = set()
        self._at_its_end = False

    def run(
        self,
        budget: Budget | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Report], None] = lambda report: None,
    ) -> Report:
        """Work on the study until its budget is used up or the strategy has come to its end.

        The budget's evaluations count for all workers together, who may exceed it by the trials they are running; its
        minutes are this worker's.
        """
        budget, evaluator = budget or Budget(), Evaluator(self.objective, lambda entry: None)
        self._recalled, self._at_its_end = set(), False
        report, failures = Report(), Failures(self.objective.failures)
        end: tuple[str, str] | None = None

        def halt() -> bool:
            nonlocal end
            if should_stop():
                end = ("stopped", STOPPED)
            elif budget.minutes is not None and evaluator.seconds >= 60.0 * budget.minutes:
                end = ("done", f"The budget of {budget.minutes:g} minutes is used up.")
            return end is not None

        try:
            while not halt():
                report = self._report(evaluator)
                on_progress(report)
                if budget.evaluations is not None and report.evaluations >= budget.evaluations:
                    end = ("done", f"The budget of {budget.evaluations} evaluations is used up.")
                elif report.status["done"]:
                    end = ("done", "The search has come to its end.")
                else:
                    self._trial(evaluator, failures, halt)
                    continue
                self._at_its_end = True
                break
        except AbortSearchError as error:
            end = (error.state, str(error))
        except (optuna.exceptions.OptunaError, OSError) as error:
            return replace(report, state="failed", message=f"The study's storage failed ({_first_line(error)}).")
        report = replace(self._report(evaluator), state=end[0], message=end[1]) if end else self._report(evaluator)
        on_progress(report)
        return report

    def compare(
        self, report: Report, start: Point, seeds: int, should_stop: Callable[[], bool] = lambda: False
    ) -> Compared:
        """Compare the best few of all workers with ``start`` on so many fresh seeds, if the study is at its end."""
        if not is_due(report, seeds):
            return Compared(report)
        if not self._at_its_end:
            return Compared(replace(report, message=f"{report.message} {_NOT_YET}"))
        try:
            with self._workers.alone(should_stop):
                now = self._report(Evaluator(self.objective, lambda entry: None))
                report = replace(report, evaluations=now.evaluations, best=now.best, history=now.history)
                scores = FreshScores(self.objective, self._fresh_entries(), self._record_fresh, should_stop)
                return compare(report, start, self.objective, seeds, scores)
        except AbortSearchError as error:
            return Compared(cut_off(report, error))
        except (optuna.exceptions.OptunaError, OSError) as error:
            return Compared(cut_off(report, JournalError(f"The study's storage failed ({_first_line(error)}).")))

    def _fresh_entries(self) -> list[dict[str, Any]]:
        return [entry for name, entry in self.study.user_attrs.items() if name.startswith(_FRESH)]

    def _record_fresh(self, entry: Mapping[str, Any]) -> None:
        self.study.set_user_attr(f"{_FRESH}_{uuid.uuid4().hex}", dict(entry))

    def _trial(self, evaluator: Evaluator, failures: Failures, halt: Callable[[], bool]) -> None:
        self._workers.give_up_lost_trials()
        trial = self.study.ask(distributions(self.sampler.space))
        try:
            point = self.sampler.point(trial)
            repeat = not evaluator.is_new(point)
            with self._workers.alive(trial):
                found = evaluator.measure(point, halt=halt)
            if found is not None and failures.add(found, 0):
                raise AbortSearchError(failures.sentence)
            if found is not None and found.score is not None:
                with suppress(optuna.exceptions.UpdateFinishedTrialError):  # given up: this machine was away for long
                    trial.set_user_attr(_SCORES, list(found.scores))
                    trial.set_user_attr(_REPEAT, repeat)
                    self.study.tell(trial, found.score)
                self._recalled.add(trial.number)
                return
        except BaseException:
            with suppress(Exception):  # the storage may be what failed
                self.study.tell(trial, state=TrialState.FAIL)
            raise
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def _report(self, evaluator: Evaluator) -> Report:
        trials = self.study.get_trials(deepcopy=False)
        standing = self.sampler.standing(trials)
        history = []
        for trial in trials:
            if trial.number not in standing.accepted or trial.value is None:
                continue
            point, scores = self.sampler.point(trial), tuple(trial.user_attrs.get(_SCORES, ()))
            if trial.number not in self._recalled:
                self._recalled.add(trial.number)
                evaluator.know(point, scores)
            kind, repeat = trial.user_attrs.get(KIND, "sample"), bool(trial.user_attrs.get(_REPEAT))
            taken = standing.accepted[trial.number]
            history.append(Evaluation(trial.number + 1, point, kind, trial.value, trial.value, scores, taken, repeat))
        signatures = {self.objective.signature(entry.point) for entry in history}
        return Report(
            evaluations=len(signatures),
            images=evaluator.drawn,
            images_of=len(self.objective.images),
            saved_by_repeats=evaluator.saved_by_repeats,
            seconds=evaluator.seconds,
            best=max(history, key=lambda entry: (entry.score or 0.0, -entry.number), default=None),
            history=tuple(history),
            status={**standing.status, "done": standing.done},
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]

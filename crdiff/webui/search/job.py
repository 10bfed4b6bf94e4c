"""The search as a job of the host: it starts where the host would draw, and ends with two pictures."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.presets.size import Size
from crdiff.search.journal import Journal, MemoryJournal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Report, ScoreJournal, Search
from crdiff.search.space import DENSE, START, Point, Space
from crdiff.search.strategies import registry as strategies
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate
from crdiff.search.strategies.strategy import Options, Strategy
from crdiff.settings import DEFAULT_K
from crdiff.webui.search import journals, judge
from crdiff.webui.search.board import Board, Snapshot, Standing, thumbnail
from crdiff.webui.search.ending import Ending
from crdiff.webui.search.eye import Eye
from crdiff.webui.search.panel import status_text
from crdiff.webui.search.plan import EYE, SearchPlan
from crdiff.webui.search.remembered import keep_best
from crdiff.webui.search.trials import Drawn, SkippedError, Trials, accordion_settings

if TYPE_CHECKING:
    from crdiff.webui.extension import Extension

_log = logging.getLogger("crdiff")

SEARCHES = "searches"
TRIAL_K = 1.0
"""Trials draw the pruned model alone, as the authors' search does."""


def run_search(
    p: Any, plan: SearchPlan, extension: Extension, board: Board, folder: Path, *, shown: bool = True
) -> Any:
    """Search with the job ``p`` of the host, in its place in the queue.

    Args:
        p: the host's processing object.
        plan: what to search.
        extension: for presets and the selected checkpoint.
        board: told how the search stands.
        folder: CR-Diff's folder in the host's data path.
        shown: whether somebody looks at the pictures; else none is drawn at the end.

    Returns:
        The host's result: the picture at the best ratios with the user's k, and the dense one.

    Raises:
        SettingsError: the search cannot start.
    """
    before = board.current
    board.begin(Standing("running", evaluations=plan.evaluations))
    try:
        with _quiet_host():
            return _Job(p, plan, extension, board, folder, shown).run()
    except BaseException as error:
        message = str(error) or type(error).__name__
        if board.current.report is None:  # it has not started: what the last one found stays to be applied
            board.begin(replace(before, state="failed", message=message))
        board.update(state="failed", message=message)
        raise


@contextmanager
def _quiet_host() -> Iterator[None]:
    """No trial replaces the infotext that the host remembers of the user's last picture."""
    from modules import shared

    before = getattr(shared.cmd_opts, "no_prompt_history", None)
    try:
        if before is not None:
            shared.cmd_opts.no_prompt_history = True
        yield
    finally:
        if before is not None:
            shared.cmd_opts.no_prompt_history = before
        shared.state.textinfo = None


class _Job:
    def __init__(self, p: Any, plan: SearchPlan, extension: Extension, board: Board, folder: Path, shown: bool) -> None:
        from modules import processing

        processing.fix_seed(p)
        self.p, self.board, self.shown, self.folder = p, board, shown, folder
        settings = accordion_settings(p)
        searches = folder / SEARCHES
        begun = journals.restore(p, searches / plan.journal) if plan.journal else None
        if begun is not None:
            settings = replace(settings, start=begun.start, end=begun.end, mode=begun.mode)
        override = (p.override_settings or {}).get("sd_model_checkpoint")
        checkpoint = extension.checkpoints.hashed(override)
        self.size = Size(int(p.height), int(p.width))
        self.trials = Trials(p, settings)
        # Whoever lists configurations searches elsewhere, and keeps the scores there.
        self.listed = plan.strategy == PointsToEvaluate.name
        self._shelf = extension.shelf
        self.scorer, self.judge = self._judging(plan, folder)
        self.k = DEFAULT_K if settings.k is None else settings.k
        # Nobody should have to judge pictures that will not look like that.
        as_drawn = self.k if self.scorer is self.judge and self.k else TRIAL_K
        self.trial_k = as_drawn if begun is None else begun.k
        self.plan = replace(
            plan,
            score=str(self.scorer.name),
            prompts=plan.prompts or (str(p.prompt),),
            seeds=plan.seeds or (int(p.seed),),
            starts=plan.starts or _starts(extension, checkpoint, self.size, self.trial_k),
        )
        self.pictures: dict[Point, Drawn] = {}
        self.first = (self.plan.prompts or ("",))[0], (self.plan.seeds or (0,))[0]
        self.started = time.monotonic()
        bound_to = journals.identity(p, checkpoint, self.plan.course(), settings)
        path = searches / plan.journal if plan.journal else journals.journal_path(searches, bound_to)
        self.journal = MemoryJournal() if self.listed else Journal(path, bound_to)
        self.budget = Budget(self.plan.evaluations, self.plan.minutes)
        board.update(
            score_name=str(self.scorer.name), k=self.k, varies_k="k" in self.plan.vary, checkpoint=checkpoint,
            size=self.size, journal="" if self.listed else path.name, prompts=self.plan.prompts,
        )  # fmt: skip

    def _judging(self, plan: SearchPlan, folder: Path) -> tuple[Any, Any]:
        """What judges: its name and bound, and what is asked for scores."""
        if plan.score == EYE:
            if not self.shown:
                raise SettingsError("Your own eye can only be asked by the page, not by the API.")
            eye = Eye(self.board, self._picture, lambda *key: self.search.objective.images.index(key))
            return eye, eye
        scorer = judge.choose(plan.score, folder)
        return scorer, judge.Judge(
            scorer, lambda prompt, seed: self._picture(DENSE, prompt, seed, hires=False), self._shelf,
            folder / judge.OWN_FILE, goes_on=self.listed,
        )  # fmt: skip

    def _picture(self, point: Point, prompt: str, seed: int, hires: bool | None = None) -> Any:
        wanted = self.plan.hires if hires is None else hires
        return self.trials.draw(point, prompt, seed, hires=wanted).picture

    def _search(self, journal: ScoreJournal) -> Search:
        plan = self.plan
        fixed = replace(START, k=self.trial_k)
        space = Space.vary(plan.vary, fixed=fixed, ratios=plan.ratios, k=plan.k)
        starts = [Point.from_dict(start) for start in plan.starts or ()]
        strategy = _strategy(plan, space, starts)
        objective = Objective(
            prompts=plan.prompts or (), seeds=plan.seeds or (), evaluate=self._evaluate, racing=plan.racing,
            highest=self.judge.highest, failures=1 if self.listed else Objective.failures,
        )  # fmt: skip
        return Search(space, strategy, objective, journal, baseline=None if self.listed else DENSE)

    def run(self) -> Any:
        with self.judge:
            # Made only now: a score of the user's own states its bound when it is loaded.
            self.search = self._search(self.journal)
            report = self.search.run(self.budget, self._should_stop, self._on_progress)
            ending = Ending(self.p, self.trials, self.judge, self.board, self.first)
            result = ending.finish(report, self.pictures, draw=self.shown and not self.listed)
        if self.shown:
            keep_best(self.folder, self.board.current)
        return result

    def _evaluate(self, point: Point, prompt: str, seed: int) -> float:
        dense = point == DENSE
        try:
            drawn = self.trials.draw(point, prompt, seed, hires=self.plan.hires)
        except SkippedError:
            if not dense:
                raise
            # Everything is compared with it, so that it cannot be left out.
            drawn = self.trials.draw(point, prompt, seed, hires=self.plan.hires)
        if dense:
            self.judge.remember_dense(drawn.picture, prompt, seed)
        score: float = self.judge.score(drawn.picture, prompt, seed, point)
        if (prompt, seed) == self.first:  # one picture of each configuration is enough to look at
            self._keep(point, drawn, score)
        return score

    def _keep(self, point: Point, drawn: Drawn, score: float) -> None:
        """The dense picture, the best one's and the present one's are kept, no more."""
        best = self.board.current.report.best if self.board.current.report else None
        wanted = {DENSE, point, best.point if best else point}
        self.pictures = {place: kept for place, kept in self.pictures.items() if place in wanted}
        self.pictures[point] = drawn
        if point == DENSE:
            self.board.update(dense=Snapshot(thumbnail(drawn.picture), score, "drawn without CR-Diff"))

    def _should_stop(self) -> bool:
        from modules.shared import state

        return bool(self.board.stop_asked or state.interrupted or state.stopping_generation)

    def _on_progress(self, report: Report) -> None:
        from modules.shared import state

        before = self.board.current.report
        standing = self.board.update(report=report, state="running")
        best = report.best
        if best is not None and (before is None or before.best is None or before.best.number != best.number):
            drawn = self.pictures.get(best.point)
            if drawn is not None and best.kind != "baseline" and any(best.point.ratios):
                index = self.search.objective.images.index(self.first)
                shown = Snapshot(thumbnail(drawn.picture), best.scores[index], f"{best.point}")
                self.board.update(best=shown)
        state.textinfo = status_text(replace(standing, message=""))
        state.job_count = self._job_count(report, int(state.job_no))

    def _job_count(self, report: Report, done: int) -> int:
        """So many pictures that the host's own bar shows how much of the budget is used up."""
        spent = time.monotonic() - self.started
        if report.seconds_left is None or done == 0:
            evaluations = self.plan.evaluations or self.plan.iterations or 1
            return max(done + 1, evaluations * max(1, report.images_of) + 2)
        return done + 1 + round(report.seconds_left * done / max(spent, 1e-3))


def _strategy(plan: SearchPlan, space: Space, starts: list[Point]) -> Strategy:
    return strategies.make(plan.strategy, space, starts, Options(plan.seed, plan.iterations, plan.temperature))


def _starts(extension: Extension, checkpoint: Any, size: Size, k: float) -> tuple[dict[str, float], ...]:
    """The matching preset, where there is one, and the dense model."""
    start = replace(START, k=k)
    if checkpoint is not None and checkpoint.family is not None:
        try:
            ratios = extension.library.match(checkpoint.family, checkpoint.sha256, size).ratios
            start = Point(ratios.down, ratios.mid, ratios.up, k)
        except CRDiffError:
            pass
    return (start.to_dict(), DENSE.to_dict())


def check(plan: SearchPlan, folder: Path) -> None:
    """Refuse what can be refused before the job is queued.

    Raises:
        SettingsError: naming what cannot be used.
    """
    Budget(plan.evaluations, plan.minutes)
    space = Space.vary(plan.vary, fixed=replace(START, k=TRIAL_K), ratios=plan.ratios, k=plan.k)
    _strategy(plan, space, [START])
    Objective(plan.prompts or ("",), plan.seeds or (0,), evaluate=lambda *_: 0.0, racing=plan.racing)
    if plan.score != EYE:
        judge.choose(plan.score, folder)

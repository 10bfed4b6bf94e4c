"""The search as a job of the host: it runs where the host would draw, and ends with two images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from crdiff.errors import CRDiffError, SettingsError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.scoring.scorer import Scorer
from crdiff.search.journal import Journal, MemoryJournal
from crdiff.search.objective import Image, Objective, images_of
from crdiff.search.search import Report, ScoreJournal, Search
from crdiff.search.space import DENSE, START, TRIAL_K, Point, Space
from crdiff.search.strategies.points_to_evaluate import PointsToEvaluate
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, Settings
from crdiff.webui.search import journals, results
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.eye import Eye
from crdiff.webui.search.judge import OWN_FILE, Judge, choose_scorer
from crdiff.webui.search.monitor import SearchMonitor, SearchStatus, Thumbnail, thumbnail
from crdiff.webui.search.outcome import Outcome
from crdiff.webui.search.request import EYE, SearchRequest
from crdiff.webui.search.trials import Drawn, SkippedError, Trials, accordion_settings


def run_search(
    p: Any, request: SearchRequest, context: SearchContext, monitor: SearchMonitor, *, shown: bool = True
) -> Any:
    """Search with the job ``p`` of the host, in its place in the queue.

    Args:
        p: the host's processing object.
        request: what to search.
        context: the surroundings.
        monitor: told how the search stands.
        shown: whether somebody looks at the images; else none is drawn at the end.

    Returns:
        The host's result: the image at the best ratios with the user's k, and the dense one.

    Raises:
        SettingsError: the search cannot start.
    """
    before = monitor.status
    monitor.begin(SearchStatus("running", evaluations=request.evaluations))
    try:
        with _undisturbed_host():
            setup = prepare(p, request, context, shown=shown)
            monitor.update(**setup.status())
            trials = Trials(p, setup.settings, hires=request.hires)
            with _judge(setup, trials, context, monitor) as judge:
                result = SearchJob(p, setup, trials, judge, monitor, shown=shown).run()
            if shown:
                results.save_best(context.folder, monitor.status)
            return result
    except BaseException as error:
        message = str(error) or type(error).__name__
        if monitor.status.report is None:  # it has not started: what the last one found can still be applied
            monitor.begin(replace(before, state="failed", message=message))
        monitor.update(state="failed", message=message)
        raise


@contextmanager
def _undisturbed_host() -> Iterator[None]:
    """No trial replaces the infotext that the host remembers of the user's last image."""
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


@dataclass(frozen=True)
class Setup:
    """A search in all its details, before anything is loaded or drawn.

    Attributes:
        request: with nothing left open: score, prompts, seeds and starting points are set.
        settings: the accordion's.
        scorer: not loaded; None for the user's own eye.
        k: the amplification to draw with at the end.
        space: what is varied; the other axes stay at what the user has.
        checkpoint: the selected one.
        size: of the images.
        journal: where scores are recorded.
        journal_name: its file's; empty if there is none.
    """

    request: SearchRequest
    settings: Settings
    scorer: Scorer | None
    k: float
    space: Space
    checkpoint: Checkpoint | None
    size: Size
    journal: ScoreJournal
    journal_name: str

    @property
    def listed(self) -> bool:
        """Whether a program elsewhere searches, and keeps the scores there."""
        return self.request.strategy == PointsToEvaluate.name

    @property
    def images(self) -> tuple[Image, ...]:
        """Prompt and seed of every image of a configuration."""
        return images_of(self.request.prompts or (), self.request.seeds or ())

    def status(self) -> dict[str, Any]:
        """What the page is told of it."""
        return {
            "score_name": self.request.score, "k": self.k, "varies_k": "k" in self.request.vary,
            "checkpoint": self.checkpoint, "size": self.size, "journal": self.journal_name,
            "prompts": self.request.prompts,
        }  # fmt: skip


def prepare(p: Any, request: SearchRequest, context: SearchContext, *, shown: bool) -> Setup:
    """Fill in what the request leaves open, from the job and the accordion; ``p``'s seed is fixed.

    Raises:
        SettingsError: the search cannot start.
        JournalError: the journal to go on with cannot be read.
    """
    from modules import processing

    processing.fix_seed(p)
    settings = accordion_settings(p)
    resumed = journals.restore(p, context.journals / request.journal) if request.journal else None
    if resumed is not None:
        settings = replace(settings, start=resumed.start, end=resumed.end, mode=resumed.mode)
    size = Size(int(p.height), int(p.width))
    checkpoint = context.checkpoints.hashed((p.override_settings or {}).get("sd_model_checkpoint"))
    if request.score == EYE and not shown:
        raise SettingsError("Your own eye can only be asked by the page, not by the API.")
    scorer = None if request.score == EYE else choose_scorer(request.score, context.folder)
    k = DEFAULT_K if settings.k is None else settings.k
    # Nobody should have to pick between images that will not look like that.
    trial_k = k if scorer is None and k else TRIAL_K
    fixed = Point.of(_held_ratios(request, settings, context, checkpoint, size), trial_k)
    space = request.space(fixed if resumed is None else replace(fixed, **resumed.held))
    start = space.hold(Point.of(_auto_ratios(context, checkpoint, size), space.fixed.k))
    request = replace(
        request,
        score=EYE if scorer is None else scorer.name,
        prompts=request.prompts or (str(p.prompt),),
        seeds=request.seeds or (int(p.seed),),
        starts=request.starts or (start.to_dict(), DENSE.to_dict()),
    )
    identity = journals.identity(p, checkpoint, request.course(), settings)
    path = journals.journal_path(context.journals, identity, space.held_away_from_start)
    if request.journal:
        path = context.journals / request.journal
    listed = request.strategy == PointsToEvaluate.name
    journal = MemoryJournal() if listed else Journal(path, identity)
    return Setup(request, settings, scorer, k, space, checkpoint, size, journal, "" if listed else path.name)


def _held_ratios(
    request: SearchRequest,
    settings: Settings,
    context: SearchContext,
    checkpoint: Checkpoint | None,
    size: Size,
) -> Ratios:
    """Where ratios that are not varied stay: at the request's starting points, else at what the accordion has.

    Raises:
        SettingsError: the accordion names a preset that does not exist.
    """
    pruned = [point.ratios for point in request.points if any(point.ratios)]
    if pruned or set(GROUPS) <= set(request.vary):
        return pruned[0] if pruned else START.ratios
    if settings.preset == CUSTOM:
        return settings.ratios
    if settings.preset != AUTO:
        return context.library.named(settings.preset).ratios
    return _auto_ratios(context, checkpoint, size)


def _auto_ratios(context: SearchContext, checkpoint: Checkpoint | None, size: Size) -> Ratios:
    """The ratios of the matching preset, else the authors' starting point."""
    if checkpoint is None or checkpoint.family is None:
        return START.ratios
    try:
        return context.library.match(checkpoint.family, checkpoint.sha256, size).ratios
    except CRDiffError:
        return START.ratios


def _judge(setup: Setup, trials: Trials, context: SearchContext, monitor: SearchMonitor) -> Judge | Eye:
    """What scores the images, not loaded yet."""

    def draw(point: Point, prompt: str, seed: int) -> Any:
        return trials.draw(point, prompt, seed).image

    if setup.scorer is None:
        return Eye(monitor, draw, setup.images)
    own = context.folder / OWN_FILE
    return Judge(setup.scorer, lambda *image: draw(DENSE, *image), context.scorers, own, put_back=setup.listed)


class SearchJob:
    """The search itself.

    Args:
        p: the host's processing object.
        setup: what to search.
        trials: draws.
        judge: scores; loaded.
        monitor: told how the search stands.
        shown: whether somebody looks at the images.
    """

    def __init__(
        self, p: Any, setup: Setup, trials: Trials, judge: Judge | Eye, monitor: SearchMonitor, *, shown: bool
    ) -> None:
        request = setup.request
        self._setup, self._trials, self._judge, self._monitor = setup, trials, judge, monitor
        self._draw_at_end = shown and not setup.listed
        self._outcome = Outcome(p, trials, judge, monitor, setup.images[0])
        objective = Objective(
            prompts=request.prompts or (), seeds=request.seeds or (), evaluate=self._evaluate, racing=request.racing,
            highest=judge.highest, failures=1 if setup.listed else Objective.failures,
        )  # fmt: skip
        strategy = request.make_strategy(setup.space, request.points)
        self._search = Search(setup.space, strategy, objective, setup.journal, baseline=None if setup.listed else DENSE)
        self._drawn: dict[Point, Drawn] = {}
        self._started = time.monotonic()

    def run(self) -> Any:
        """The host's result."""
        report = self._search.run(self._setup.request.budget, self._should_stop, self._on_progress)
        return self._outcome.finish(report, self._drawn, draw=self._draw_at_end)

    def _evaluate(self, point: Point, prompt: str, seed: int) -> float:
        dense = point == DENSE
        try:
            drawn = self._trials.draw(point, prompt, seed)
        except SkippedError:
            if not dense:
                raise
            # Everything is compared with it, so that it cannot be left out.
            drawn = self._trials.draw(point, prompt, seed)
        if dense:
            self._judge.take_dense(drawn.image, prompt, seed)
        score = self._judge.score(drawn.image, prompt, seed, point)
        assert score is not None  # this is one of the search's own configurations
        if (prompt, seed) == self._setup.images[0]:  # one image of each configuration is enough to look at
            self._remember(point, drawn, score)
        return score

    def _remember(self, point: Point, drawn: Drawn, score: float) -> None:
        """Keep the image, the dense one and the best one's, and no others."""
        report = self._monitor.status.report
        best = report.best if report else None
        wanted = {DENSE, point, best.point if best else point}
        self._drawn = {place: kept for place, kept in self._drawn.items() if place in wanted}
        self._drawn[point] = drawn
        if point == DENSE:
            self._monitor.update(dense=Thumbnail(thumbnail(drawn.image), score, "drawn without CR-Diff"))

    def _should_stop(self) -> bool:
        from modules.shared import state

        return bool(self._monitor.stop_requested or state.interrupted or state.stopping_generation)

    def _on_progress(self, report: Report) -> None:
        from modules.shared import state

        before = self._monitor.status.report
        status = self._monitor.update(report=report, state="running")
        best = report.best
        if best is not None and (before is None or before.best is None or before.best.number != best.number):
            drawn = self._drawn.get(best.point)
            if drawn is not None and status.found is not None:
                self._monitor.update(best=Thumbnail(thumbnail(drawn.image), best.scores[0], f"{best.point}"))
        state.textinfo = replace(status, message="").text
        state.job_count = self._job_count(report, int(state.job_no))

    def _job_count(self, report: Report, done: int) -> int:
        """A number of images by which the host's own bar shows how much of the budget is used up."""
        spent = time.monotonic() - self._started
        if report.seconds_left is None or done == 0:
            request = self._setup.request
            evaluations = request.evaluations or request.iterations or 1
            return max(done + 1, evaluations * max(1, report.images_of) + 2)
        return done + 1 + round(report.seconds_left * done / max(spent, 1e-3))

"""The search as a job of the host: it runs where the host would draw, and ends with two images."""

from __future__ import annotations

import logging
import time
from copy import copy
from dataclasses import replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.search.objective import Objective
from crdiff.search.report import Report
from crdiff.search.search import Search
from crdiff.search.strategies.point import DENSE, Point
from crdiff.webui.jobs.host import finished, undisturbed_host
from crdiff.webui.search import results
from crdiff.webui.search.context import SearchContext
from crdiff.webui.search.eye import Eye
from crdiff.webui.search.judge import OWN_FILE, Judge
from crdiff.webui.search.monitor import SearchMonitor, SearchStatus, Thumbnail, thumbnail
from crdiff.webui.search.preparation import Setup, prepare
from crdiff.webui.search.request import EYE, SearchRequest
from crdiff.webui.search.trials import Drawn, SkippedError, Trials

SUMMARY_KEY = "CR-Diff search"
_WITHOUT = "drawn without CR-Diff"

_log = logging.getLogger("crdiff")


def run_search(
    p: Any, request: SearchRequest, context: SearchContext, monitor: SearchMonitor, *, shown: bool = True
) -> Any:
    """Search with the job ``p`` of the host, in its place in the queue.

    Args:
        p: the host's processing object.
        request: what to search.
        context: the surroundings.
        monitor: told how the search stands.
        shown: whether a page shows the images; else none is drawn at the end.

    Returns:
        The host's result: the image of the best configuration, and the dense one.

    Raises:
        SettingsError: the search cannot start.
    """
    before = monitor.status
    monitor.begin(SearchStatus("running", evaluations=request.evaluations))
    try:
        with undisturbed_host():
            setup = prepare(p, request, context)
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
        shown: whether a page shows the images.
    """

    def __init__(
        self, p: Any, setup: Setup, trials: Trials, judge: Judge | Eye, monitor: SearchMonitor, *, shown: bool
    ) -> None:
        request = setup.request
        self._setup, self._trials, self._judge, self._monitor = setup, trials, judge, monitor
        self._draw_at_end = shown and not setup.listed
        self._outcome = Outcome(p, trials, monitor, setup.images[0])
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
        report = self._search.run(self._setup.request.budget, lambda: self._monitor.should_stop, self._on_progress)
        if report.state == "done":
            report = self._compared(report)
        return self._outcome.finish(report, self._drawn, draw=self._draw_at_end)

    def _compared(self, report: Report) -> Report:
        """With the best of the last candidates on fresh seeds, and its gain there, if that was asked for."""
        request = self._setup.request
        self._monitor.update(report=report)
        if request.score == EYE or self._setup.listed:
            return report
        start = next((point for point in request.points if not point.is_dense), DENSE)
        compared = self._search.compare(report, start, request.fresh_seeds, lambda: self._monitor.should_stop)
        self._monitor.update(gain=compared.gain)
        return compared.report

    def _evaluate(self, point: Point, prompt: str, seed: int) -> float:
        dense = point == DENSE
        if seed not in (self._setup.request.seeds or ()):
            self._monitor.update(message=f"Comparing the best few with the start on fresh seeds, now {seed}.")
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
        if (prompt, seed) == self._setup.images[0]:  # one image of each configuration is enough to look at
            self._remember(point, drawn)
        return score

    def _remember(self, point: Point, drawn: Drawn) -> None:
        """Keep the image, the dense one and the best one's, and no others."""
        report = self._monitor.status.report
        best = report.best if report else None
        wanted = {DENSE, point, best.point if best else point}
        self._drawn = {place: kept for place, kept in self._drawn.items() if place in wanted}
        self._drawn[point] = drawn
        if point == DENSE:
            self._monitor.update(dense=Thumbnail(thumbnail(drawn.image), _WITHOUT))

    def _on_progress(self, report: Report) -> None:
        from modules.shared import state

        before = self._monitor.status.report
        status = self._monitor.update(report=report, state="running")
        best = report.best
        if best is not None and (before is None or before.best is None or before.best.number != best.number):
            drawn = self._drawn.get(best.point)
            if drawn is not None and status.found is not None:
                self._monitor.update(best=Thumbnail(thumbnail(drawn.image), f"{best.point}"))
        # Beside it the host shows the time that is left.
        quiet = replace(report, seconds_left=None)
        state.textinfo = replace(status, report=quiet, message="").text
        state.job_count = self._job_count(report, int(state.job_no))

    def _job_count(self, report: Report, done: int) -> int:
        """A number of images by which the host's own bar shows how much of the budget is used up."""
        spent = time.monotonic() - self._started
        if report.seconds_left is None or done == 0:
            request = self._setup.request
            evaluations = request.evaluations or request.iterations or 1
            return max(done + 1, evaluations * max(1, report.images_of) + 2)
        return done + 1 + round(report.seconds_left * done / max(spent, 1e-3))


class Outcome:
    """Turns a report into the host's result.

    Args:
        p: the host's processing object.
        trials: draws.
        monitor: told how the search stands.
        first: prompt and seed of the images to show.
    """

    def __init__(self, p: Any, trials: Trials, monitor: SearchMonitor, first: tuple[str, int]) -> None:
        self._p = p
        self._trials = trials
        self._monitor = monitor
        self._first = first

    def finish(self, report: Report, images: dict[Point, Drawn], *, draw: bool) -> Any:
        """The result: with ``draw``, and unless the search was ended early, images it lacks are drawn for it.

        These are images of a search that was resumed, and both images where only they have Hires. fix.
        """
        status = self._monitor.update(report=report)
        found = status.found
        message = report.message
        if report.best is not None and found is None:
            message = f"{message} Nothing tried scored higher than the dense model."
        dense, best = images.get(DENSE), images.get(found.point) if found else None
        if report.state == "done" and draw:
            try:
                again = self._trials.hires_left_out
                if found is not None and (again or best is None):
                    best = self._trials.draw(found.point, *self._first, hires=True)
                    self._monitor.update(best=Thumbnail(thumbnail(best.image), f"{found.point}"))
                if again or dense is None:
                    dense = self._trials.draw(DENSE, *self._first, hires=True)
                    self._monitor.update(dense=Thumbnail(thumbnail(dense.image), _WITHOUT))
            except Exception as error:  # the search itself is safe in its journal
                _log.exception("The images at the end of a search could not be drawn")
                text = str(error) if isinstance(error, CRDiffError) else f"{type(error).__name__}: {error}"
                message = f"{message} The images at the end could not be drawn: {text}"
        status = self._monitor.update(state=report.state, message=message.strip())
        return self._result([drawn for drawn in (best, dense) if drawn is not None], report, status.text)

    def _result(self, drawn: list[Drawn], report: Report, text: str) -> Any:
        p = copy(self._p)
        p.prompt, p.seed = self._first
        p.extra_generation_params = {**self._p.extra_generation_params, SUMMARY_KEY: summary(report)}
        return finished(p, text, [one.image for one in drawn], [one.infotext for one in drawn])


def summary(report: Report) -> dict[str, Any]:
    """What the host tells about the job: plain JSON."""
    best, dense = report.best, report.baseline
    return {
        "state": report.state,
        "message": report.message,
        "evaluations": report.evaluations,
        "pictures": report.images,
        "dense": None if dense is None else {"score": dense.score},
        "best": None if best is None else {"score": best.score, **best.point.rounded.to_dict()},
    }

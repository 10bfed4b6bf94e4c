"""How a search ends: an image at the best ratios with the user's k beside the dense one, as the host's result."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.search.search import Report
from crdiff.search.space import DENSE, Point
from crdiff.webui.search.eye import Eye
from crdiff.webui.search.judge import Judge
from crdiff.webui.search.monitor import SearchMonitor, Thumbnail, thumbnail
from crdiff.webui.search.trials import Drawn, Trials

_log = logging.getLogger("crdiff")

SUMMARY_KEY = "CR-Diff search"


class Outcome:
    """Turns a report into the host's result.

    Args:
        p: the host's processing object.
        trials: draws.
        judge: scores.
        monitor: told how the search stands.
        first: prompt and seed of the images to show.
    """

    def __init__(
        self, p: Any, trials: Trials, judge: Judge | Eye, monitor: SearchMonitor, first: tuple[str, int]
    ) -> None:
        self._p = p
        self._trials = trials
        self._judge = judge
        self._monitor = monitor
        self._first = first

    def finish(self, report: Report, images: dict[Point, Drawn], *, draw: bool) -> Any:
        """The result: with ``draw``, and unless the search was ended early, the two images are drawn for it."""
        status = self._monitor.update(report=report)
        found = status.found
        message = report.message
        if report.best is not None and found is None:
            message = f"{message} Nothing tried scored higher than the dense model."
        dense, best = images.get(DENSE), images.get(found.point) if found else None
        if report.state == "done" and draw:
            try:
                if found is not None:
                    point = replace(found.point, k=status.k_of(found))
                    best = self._drawn(point, hires=True)
                    score = self._judge.score(best.image, *self._first)
                    caption = f"{point}"
                    self._monitor.update(best=Thumbnail(thumbnail(best.image), score, caption))
                if dense is None or getattr(self._p, "enable_hr", False):
                    dense = self._drawn(DENSE, hires=True)
                    score = self._judge.score(dense.image, *self._first)
                    self._monitor.update(dense=Thumbnail(thumbnail(dense.image), score, "drawn without CR-Diff"))
            except Exception as error:  # the search itself is safe in its journal
                _log.exception("The images at the end of a search could not be drawn")
                text = str(error) if isinstance(error, CRDiffError) else f"{type(error).__name__}: {error}"
                message = f"{message} The images at the end could not be drawn: {text}"
        status = self._monitor.update(state=report.state, message=message.strip())
        return self._result([drawn for drawn in (best, dense) if drawn is not None], report, status.text)

    def _drawn(self, point: Point, *, hires: bool) -> Drawn:
        return self._trials.draw(point, *self._first, hires=hires)

    def _result(self, drawn: list[Drawn], report: Report, text: str) -> Any:
        from modules import processing

        p = copy(self._p)
        p.prompt, p.seed = self._first
        p.n_iter = p.batch_size = 1
        p.extra_generation_params = {**self._p.extra_generation_params, SUMMARY_KEY: summary(report)}
        count = len(drawn)
        seeds, prompts = [self._first[1]] * max(count, 1), [self._first[0]] * max(count, 1)
        p.all_prompts, p.all_seeds, p.all_subseeds = prompts, seeds, [p.subseed] * len(seeds)
        p.all_negative_prompts = [str(self._p.negative_prompt)] * len(seeds)
        texts = [one.infotext for one in drawn] or [""]
        result = processing.Processed(
            p, [one.image for one in drawn], p.seed, texts[0], subseed=p.subseed, infotexts=texts,
            index_of_first_image=0,
        )  # fmt: skip
        result.comments = text
        return result


def summary(report: Report) -> dict[str, Any]:
    """What the host tells about the job: plain JSON."""
    best, dense = report.best, report.baseline
    return {
        "state": report.state,
        "message": report.message,
        "evaluations": report.evaluations,
        "pictures": report.images,
        "dense": None if dense is None else {"score": dense.score},
        "best": None if best is None else {"score": best.score, **best.point.to_dict()},
    }

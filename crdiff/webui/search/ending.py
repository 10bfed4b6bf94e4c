"""How a search ends: a picture at the best ratios with the user's k beside the dense one, or what there is of them."""

from __future__ import annotations

import logging
from copy import copy
from dataclasses import replace
from typing import Any

from crdiff.errors import CRDiffError
from crdiff.search.search import Report
from crdiff.search.space import DENSE, Point
from crdiff.webui.search.board import Board, Snapshot, thumbnail
from crdiff.webui.search.judge import Judge
from crdiff.webui.search.panel import status_text
from crdiff.webui.search.trials import Drawn, Trials

_log = logging.getLogger("crdiff")

SUMMARY_KEY = "CR-Diff search"


class Ending:
    """Turns a report into the host's result.

    Args:
        p: the host's processing object.
        trials: draws.
        judge: scores.
        board: told how the search stands.
        first: prompt and seed of the pictures to show.
    """

    def __init__(self, p: Any, trials: Trials, judge: Judge, board: Board, first: tuple[str, int]) -> None:
        self._p = p
        self._trials = trials
        self._judge = judge
        self._board = board
        self._first = first

    def finish(self, report: Report, pictures: dict[Point, Drawn], draw: bool = True) -> Any:
        """Draw the two pictures unless the user wants an end or nobody looks, and hand over what there is."""
        standing = self._board.update(report=report)
        found = standing.found
        message = report.message
        if report.best is not None and found is None:
            message = f"{message} Nothing tried scored higher than the dense model."
        dense, best = pictures.get(DENSE), pictures.get(found.point) if found else None
        if report.state == "done" and draw:
            try:
                if found is not None:
                    point = replace(found.point, k=standing.k_of(found))
                    best = self._drawn(point, hires=True)
                    score = self._judge.score(best.picture, *self._first)
                    caption = f"{point}"
                    self._board.update(best=Snapshot(thumbnail(best.picture), score, caption))
                if dense is None or getattr(self._p, "enable_hr", False):
                    dense = self._drawn(DENSE, hires=True)
                    score = self._judge.score(dense.picture, *self._first)
                    self._board.update(dense=Snapshot(thumbnail(dense.picture), score, "drawn without CR-Diff"))
            except Exception as error:  # the search itself is safe in its journal and on the board
                _log.exception("The pictures at the end of a search could not be drawn")
                text = str(error) if isinstance(error, CRDiffError) else f"{type(error).__name__}: {error}"
                message = f"{message} The picture at the end could not be drawn: {text}"
        standing = self._board.update(state=report.state, message=message.strip())
        return self._result([drawn for drawn in (best, dense) if drawn is not None], report, status_text(standing))

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
            p, [one.picture for one in drawn], p.seed, texts[0], subseed=p.subseed, infotexts=texts,
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

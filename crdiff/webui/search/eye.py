"""Your own eye as a score: each candidate is shown beside the best so far, and the user picks.

A picture that wins scores one more than the best configuration's picture of the same prompt and seed, one that loses
one less, and a draw scores the same; the dense model starts at 0. With several prompts and seeds the mean goes up where
more pictures win than lose. Nothing but the scores is needed to go on: the journal keeps the answers, and the best's
pictures are drawn again.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from typing import Any

from crdiff.search.errors import AbortSearchError
from crdiff.search.search import Evaluation
from crdiff.search.space import Point
from crdiff.webui.search.board import Board, Question, thumbnail
from crdiff.webui.search.plan import EYE
from crdiff.webui.search.trials import SkippedError

PATIENCE_S = 600.0
"""A question waits so long; meanwhile the host draws nothing else."""
_POLL_S = 0.1


class Eye:
    """Asks the user in the page, in the thread of the host's job.

    Args:
        board: where the page finds the question and leaves the answer.
        draw: the picture of a configuration, prompt and seed.
        place: the place of a prompt and seed among a configuration's pictures.
    """

    name = EYE
    highest: float | None = None
    needs_dense = False

    def __init__(self, board: Board, draw: Callable[[Point, str, int], Any], place: Callable[[str, int], int]) -> None:
        self._board = board
        self._draw = draw
        self._place = place
        self._pictures: dict[tuple[Point, str, int], Any] = {}
        self._asked = 0

    def __enter__(self) -> Eye:
        return self

    def __exit__(self, *_: object) -> None:
        self._pictures.clear()
        self._board.update(question=None)

    def remember_dense(self, picture: Any, prompt: str, seed: int) -> None:
        """Nothing is compared with the dense picture but what is shown."""

    def score(self, picture: Any, prompt: str, seed: int, point: Point | None = None) -> float | None:
        """The score of one picture; None for one that is no configuration's of the search, which nobody is asked about.

        Raises:
            AbortSearchError: the user stopped, or did not answer.
            SkippedError: the user skipped the question.
        """
        if point is None:
            return None
        report = self._board.current.report
        best = report.best if report else None
        wanted = {point, best.point if best else point}
        self._pictures = {key: kept for key, kept in self._pictures.items() if key[0] in wanted}
        self._pictures[point, prompt, seed] = picture
        if best is None or best.point == point:
            return 0.0 if best is None else self._of(best, prompt, seed)
        rival = self._pictures.get((best.point, prompt, seed))
        if rival is None:
            rival = self._pictures[best.point, prompt, seed] = self._draw(best.point, prompt, seed)
        return self._of(best, prompt, seed) + self._ask(picture, rival, point, prompt)

    def _of(self, best: Evaluation, prompt: str, seed: int) -> float:
        return float(best.scores[self._place(prompt, seed)] or 0.0)

    def _ask(self, picture: Any, rival: Any, point: Point, prompt: str) -> float:
        """1 if the picture is better than its rival, -1 if it is worse, 0 if the user sees no difference."""
        from modules.shared import state

        self._asked += 1
        # Which side the candidate is on must not be told by habit, and be the same after a restart.
        on_the_left = zlib.crc32(f"{point} {prompt}".encode()) & 1 == 1
        left, right = (picture, rival) if on_the_left else (rival, picture)
        question = Question(self._asked, thumbnail(left), thumbnail(right), prompt)
        self._board.ask(question)
        state.textinfo = "Which picture is better? CR-Diff's search waits for your answer."
        end = time.monotonic() + PATIENCE_S
        try:
            while (answer := self._board.answered(question.number)) is None:
                if self._board.stop_asked or state.interrupted or state.stopping_generation:
                    raise AbortSearchError("The search was stopped; the best so far is kept.", "stopped")
                if state.skipped:
                    state.skipped = False
                    raise SkippedError("This picture was skipped.")
                if time.monotonic() > end:
                    minutes = f"{PATIENCE_S / 60:g} minutes"
                    raise AbortSearchError(f"No answer came for {minutes}; the best so far is kept.", "stopped")
                time.sleep(_POLL_S)
        finally:
            self._board.update(question=None)
        if answer == "same":
            return 0.0
        return 1.0 if (answer == "left") == on_the_left else -1.0

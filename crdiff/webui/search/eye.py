"""Your own eye as a score: each candidate is shown beside the best so far, and the user picks.

An image that wins scores one more than the best configuration's image of the same prompt and seed, one that loses one
less, and a draw scores the same; the dense model starts at 0. With several prompts and seeds the mean goes up where
more images win than lose. The scores are all that is needed to resume: the journal keeps the answers, and the images
of the best are drawn again.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

from crdiff.search.errors import STOPPED, AbortSearchError
from crdiff.search.objective import Image
from crdiff.search.report import Evaluation
from crdiff.search.strategies.point import Point
from crdiff.webui.search.monitor import Question, SearchMonitor, thumbnail
from crdiff.webui.search.request import EYE
from crdiff.webui.search.trials import SkippedError

PATIENCE_S = 600.0
"""How long a question waits for its answer; meanwhile the host draws nothing else."""
_POLL_S = 0.1


class Eye:
    """Asks the user in the page, in the thread of the host's job.

    Args:
        monitor: where the page finds the question and leaves the answer.
        draw: the image of a configuration, prompt and seed.
        images: prompt and seed of every image of a configuration.
    """

    name = EYE
    highest: float | None = None

    def __init__(self, monitor: SearchMonitor, draw: Callable[[Point, str, int], Any], images: Sequence[Image]) -> None:
        self._monitor = monitor
        self._draw = draw
        self._images = images
        self._drawn: dict[tuple[Point, str, int], Any] = {}
        self._asked = 0

    def __enter__(self) -> Eye:
        return self

    def __exit__(self, *_: object) -> None:
        self._drawn.clear()
        self._monitor.update(question=None)

    def take_dense(self, image: Any, prompt: str, seed: int) -> None:
        """Nothing: the dense image is not special here."""

    def score(self, image: Any, prompt: str, seed: int, point: Point) -> float:
        """The score of one image of a configuration.

        Raises:
            AbortSearchError: the user stopped, or did not answer.
            SkippedError: the user skipped the question.
        """
        report = self._monitor.status.report
        best = report.best if report else None
        wanted = {point, best.point if best else point}
        self._drawn = {key: kept for key, kept in self._drawn.items() if key[0] in wanted}
        self._drawn[point, prompt, seed] = image
        if best is None or best.point == point:
            return 0.0 if best is None else self._of(best, prompt, seed)
        incumbent = self._drawn.get((best.point, prompt, seed))
        if incumbent is None:
            incumbent = self._drawn[best.point, prompt, seed] = self._draw(best.point, prompt, seed)
        return self._of(best, prompt, seed) + self._ask(image, incumbent, point, prompt)

    def _of(self, best: Evaluation, prompt: str, seed: int) -> float:
        return float(best.scores[self._images.index((prompt, seed))] or 0.0)

    def _ask(self, image: Any, incumbent: Any, point: Point, prompt: str) -> float:
        """1 if the image is better than the incumbent's, -1 if it is worse, 0 if the user sees no difference."""
        from modules.shared import state

        self._asked += 1
        # The side of the candidate must not be guessable, and must be the same after a restart.
        on_the_left = zlib.crc32(f"{point} {prompt}".encode()) & 1 == 1
        left, right = (image, incumbent) if on_the_left else (incumbent, image)
        question = Question(self._asked, thumbnail(left), thumbnail(right), prompt)
        self._monitor.ask(question)
        state.textinfo = "Which image is better? CR-Diff's search is waiting for your answer."
        end = time.monotonic() + PATIENCE_S
        try:
            while (answer := self._monitor.answer_to(question.number)) is None:
                if self._monitor.should_stop:
                    raise AbortSearchError(STOPPED, "stopped")
                if state.skipped:
                    state.skipped = False
                    raise SkippedError("This image was skipped.")
                if time.monotonic() > end:
                    minutes = f"{PATIENCE_S / 60:g} minutes"
                    raise AbortSearchError(f"No answer came for {minutes}; the best so far is kept.", "stopped")
                time.sleep(_POLL_S)
        finally:
            self._monitor.update(question=None)
        if answer == "same":
            return 0.0
        return 1.0 if (answer == "left") == on_the_left else -1.0

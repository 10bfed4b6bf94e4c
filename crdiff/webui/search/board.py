"""Where the running search stands, for whoever looks: the job writes, the page's polls read."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdiff.models.checkpoint import Checkpoint
    from crdiff.presets.size import Size
    from crdiff.search.search import Evaluation, Report

_LONGEST_SIDE = 512
_QUALITY = 88


@dataclass(frozen=True)
class Snapshot:
    """A picture as the page shows it.

    Attributes:
        url: a data URL of a JPEG, small enough to be sent again and again.
        score: of this one picture; None if not known.
        caption: what it was drawn with.
    """

    url: str
    score: float | None
    caption: str


ANSWERS = ("left", "same", "right")


@dataclass(frozen=True)
class Question:
    """Two pictures, one of which the user shall pick.

    Attributes:
        number: counts a search's questions from 1.
        left: a data URL.
        right: a data URL.
        prompt: what both were drawn for.
    """

    number: int
    left: str
    right: str
    prompt: str


@dataclass(frozen=True)
class Standing:
    """A search at one moment; never changed, only replaced.

    Attributes:
        state: ``none``, ``running``, ``done``, ``stopped`` or ``failed``.
        message: one sentence.
        score_name: what the pictures are judged by.
        report: the search core's own report.
        dense: the picture of the dense model.
        best: the picture of the best configuration.
        k: the amplification to draw with, where k was not varied.
        varies_k: whether k was varied.
        evaluations: the budget; None is no limit.
        checkpoint: what was searched for.
        size: of the pictures.
        journal: name of the journal's file.
        prompts: what the pictures are drawn for.
        question: what the search waits for an answer to.
    """

    state: str = "none"
    message: str = ""
    score_name: str = ""
    report: Report | None = None
    dense: Snapshot | None = None
    best: Snapshot | None = None
    k: float = 1.5
    varies_k: bool = False
    evaluations: int | None = None
    checkpoint: Checkpoint | None = None
    size: Size | None = None
    journal: str = ""
    prompts: tuple[str, ...] = ()
    question: Question | None = None

    @property
    def found(self) -> Evaluation | None:
        """The best configuration, if it is better than the dense model."""
        best = self.report.best if self.report else None
        return None if best is None or best.kind == "baseline" or not any(best.point.ratios) else best

    def k_of(self, evaluation: Evaluation) -> float:
        """The amplification to draw a configuration with."""
        return evaluation.point.k if self.varies_k else self.k


@dataclass
class Board:
    """Holds the standing of the last search of this WebUI."""

    current: Standing = field(default_factory=Standing)
    version: int = 0
    stop_asked: bool = False
    _answer: tuple[int, str] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self, standing: Standing) -> None:
        """A search starts."""
        with self._lock:
            self.stop_asked = False
            self.current = standing
            self.version += 1

    def update(self, **changes: Any) -> Standing:
        """Replace some parts of the standing."""
        with self._lock:
            self.current = replace(self.current, **changes)
            self.version += 1
            return self.current

    def ask(self, question: Question) -> None:
        """Show a question; an answer to an earlier one is forgotten."""
        with self._lock:
            self._answer = None
            self.current = replace(self.current, question=question)
            self.version += 1

    def answer(self, number: int, choice: str) -> bool:
        """Take the answer to a question; False if it is no longer asked, or has been answered."""
        with self._lock:
            question = self.current.question
            if question is None or question.number != number or self._answer is not None or choice not in ANSWERS:
                return False
            self._answer = (number, choice)
            return True

    def answered(self, number: int) -> str | None:
        """The answer to a question, once there is one."""
        with self._lock:
            return self._answer[1] if self._answer is not None and self._answer[0] == number else None


def thumbnail(picture: Any) -> str:
    """A picture as a data URL, at most 512 pixels wide or high."""
    small = picture.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

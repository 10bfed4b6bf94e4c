"""Where the running search stands, for whoever looks: the job writes, the page's polls read."""

from __future__ import annotations

import base64
import io
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crdiff.presets.size import Size
    from crdiff.search.search import Evaluation, Report
    from crdiff.webui.checkpoints import SelectedCheckpoint

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
    checkpoint: SelectedCheckpoint | None = None
    size: Size | None = None
    journal: str = ""

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


def thumbnail(picture: Any) -> str:
    """A picture as a data URL, at most 512 pixels wide or high."""
    small = picture.convert("RGB")
    small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

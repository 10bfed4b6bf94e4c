"""How a job stands: the job writes it, the page's polls and the API read it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class JobStatus:
    """A job at one moment.

    Attributes:
        state: ``none``, ``running``, ``done``, ``stopped`` or ``failed``.
        message: one sentence.
    """

    state: str = "none"
    message: str = ""


S = TypeVar("S", bound=JobStatus)


@dataclass
class JobMonitor(Generic[S]):
    """Holds the status of the last job of a kind, and carries the page's requests to it."""

    status: S
    version: int = 0
    stop_requested: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def begin(self, status: S) -> None:
        """A job starts."""
        with self._lock:
            self.stop_requested = False
            self.status = status
            self.version += 1

    def update(self, **changes: Any) -> S:
        """Replace some fields of the status."""
        with self._lock:
            self.status = replace(self.status, **changes)
            self.version += 1
            return self.status

    @property
    def should_stop(self) -> bool:
        """Whether the user wants the job to end, by its own button or by one of the host's."""
        from modules.shared import state

        return bool(self.stop_requested or state.interrupted or state.stopping_generation)

"""A scorer that stays loaded for a moment, for the next job of a search that is made of many jobs."""

from __future__ import annotations

import logging
import threading
from typing import Any

from crdiff.errors import CRDiffError

_log = logging.getLogger("crdiff")

KEPT_S = 20.0
"""Between two jobs of the command line's search there are a second and other people's pictures."""


class Shelf:
    """Holds at most one loaded scorer, and frees it when nobody has come back for it in time.

    Args:
        seconds: how long it is kept.
    """

    def __init__(self, seconds: float = KEPT_S) -> None:
        self._seconds = seconds
        self._kept: tuple[Any, Any] | None = None
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def take(self, scorer: Any, mark: Any) -> Any:
        """The scorer that was put here with this mark, loaded; else ``scorer`` as it is, and what was here is freed."""
        kept = self._emptied()
        if kept is not None and kept[1] == mark:
            return kept[0]
        self._free(kept)
        return scorer

    def put(self, scorer: Any, mark: Any) -> None:
        """Keep a loaded scorer; ``mark`` says what it was loaded from."""
        self._free(self._emptied())
        with self._lock:
            self._kept = (scorer, mark)
            self._timer = threading.Timer(self._seconds, self._expire, [self._kept])
            self._timer.daemon = True
            self._timer.start()

    def _emptied(self) -> tuple[Any, Any] | None:
        with self._lock:
            kept, self._kept = self._kept, None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return kept

    def _expire(self, expected: tuple[Any, Any]) -> None:
        with self._lock:
            if self._kept is not expected:
                return
            self._kept = None
        self._free(expected)

    @staticmethod
    def _free(kept: tuple[Any, Any] | None) -> None:
        if kept is not None:
            close(kept[0])


def close(scorer: Any) -> None:
    """Free a scorer; what goes wrong with that is only logged, for the scores are known by then."""
    try:
        scorer.close()
    except CRDiffError as problem:
        _log.warning("%s", problem)

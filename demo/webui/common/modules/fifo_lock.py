"""A lock that is handed on in the order of the requests. Not re-entrant: taking it twice in a thread hangs."""

from __future__ import annotations

import collections
import threading
from typing import Any


class FIFOLock:
    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._held = False
        self._waiting: collections.deque[threading.Event] = collections.deque()

    def acquire(self, blocking: bool = True) -> bool:
        with self._guard:
            if not self._held:
                self._held = True
                return True
            if not blocking:
                return False
            turn = threading.Event()
            self._waiting.append(turn)
        turn.wait()
        return True

    def release(self) -> None:
        with self._guard:
            if not self._held:
                raise RuntimeError("release unlocked lock")
            if self._waiting:
                # The lock passes on without ever being free, so nobody can jump the queue.
                self._waiting.popleft().set()
            else:
                self._held = False

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: Any) -> None:
        self.release()

"""How far an evaluation is, in one line, with the time that is left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

from crdiff.evaluation.images import Item

_PAUSE_S = 30.0


class Progress:
    """A line that is written anew on a terminal, and now and then anywhere else.

    Args:
        items: all that is still to be drawn, whose time is taken to go with pixels and UNet passes.
        stream: to write to.
        clock: seconds, of any origin.
    """

    def __init__(
        self, items: list[Item], stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._clock, self._start = clock, clock()
        self._said = self._start - _PAUSE_S
        self._count, self._left = len(items), sum(map(_work, items))
        self._done = 0
        self._worked = 0.0

    def step(self, item: Item) -> None:
        """An image is done."""
        self._done += 1
        self._worked += _work(item)
        self._left -= _work(item)
        now = self._clock()
        terminal = self._stream.isatty()
        if not terminal and now - self._said < _PAUSE_S and self._done < self._count:
            return
        self._said = now
        left = (now - self._start) / self._worked * max(0.0, self._left)
        text = f"{self._done} of {self._count} images; {item.size}, {item.drawing.way}; {duration(left)} left"
        end = "\n" if not terminal or self._done == self._count else ""
        print(f"\r{text}\033[K" if terminal else text, end=end, file=self._stream, flush=True)

    def close(self) -> None:
        """Leave the line, where it was left unfinished."""
        if self._stream.isatty() and 0 < self._done < self._count:
            print(file=self._stream, flush=True)


def duration(seconds: float) -> str:
    """A time for people: ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _work(item: Item) -> float:
    return item.size.height * item.size.width * item.drawing.passes

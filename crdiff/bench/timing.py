"""Interleaved timing: everything in turn, round after round, so that a machine's other work meets all alike."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch


@dataclass(frozen=True)
class Spread:
    """Of repeated measurements: the median, and the range that holds the middle half."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """From at least one value."""
        if len(values) < 2:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)


@dataclass(frozen=True)
class Turn:
    """What is timed in one go.

    Attributes:
        work: does ``units`` pieces of work in round number ``round``.
        units: what its time is divided by.
    """

    work: Callable[[int], object]
    units: int = 1


@dataclass(frozen=True)
class Duration:
    """How long a piece of work took.

    Attributes:
        seconds: on the clock on the wall.
        load: what ratios are taken of: on a GPU the same; on a CPU the processor time of this process, which does not
            count what other programs took meanwhile.
    """

    seconds: float
    load: float


Times = dict[str, list[Duration]]

Progress = Callable[[str], None]
"""Told in a few words what is being done."""


def no_progress(line: str) -> None:
    """Tells nobody."""


_FEWEST_ROUNDS, _MOST_ROUNDS = 2, 30


def timed(work: Callable[[], object], device: torch.device) -> Duration:
    """The duration of ``work``, with what it leaves running on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start, load = time.perf_counter(), time.process_time()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    # Windows counts processor time in steps of 16 ms, too coarse for this.
    on_wall = device.type != "cpu" or sys.platform == "win32"
    return Duration(seconds, seconds if on_wall else time.process_time() - load)


def interleave(
    turns: Mapping[str, Turn],
    device: torch.device,
    rounds: int | None,
    budget: float,
    progress: Progress = no_progress,
) -> Times:
    """The duration per unit of every turn in every round, after a round of warm-up that is not kept.

    Args:
        turns: what is timed, by name; each round starts one further along.
        device: where it runs.
        rounds: number of rounds; None for as many as fit into ``budget``, from 2 to 30.
        budget: seconds, the warm-up's included.
        progress: told how far it is.
    """
    names = list(turns)
    times: Times = {name: [] for name in names}
    start = time.perf_counter()
    for name in names:
        progress(f"warming up {name}")
        timed(partial(turns[name].work, 0), device)
    for index in range(_MOST_ROUNDS if rounds is None else rounds):
        begun = time.perf_counter()
        if rounds is None and index >= _FEWEST_ROUNDS and (begun - start) * (index + 2) / (index + 1) > budget:
            break
        progress(f"round {index + 1}" + (f" of {rounds}" if rounds else f", {begun - start:.0f} s of {budget:.0f} s"))
        first = index % len(names)
        for name in names[first:] + names[:first]:
            turn = turns[name]
            whole = timed(partial(turn.work, index), device)
            times[name].append(Duration(whole.seconds / turn.units, whole.load / turn.units))
    return times


def ratio(times: Times, name: str, base: str) -> Spread:
    """The time of ``name`` over that of ``base``, compared within each round."""
    return Spread.of([mine.load / other.load for mine, other in zip(times[name], times[base], strict=True)])

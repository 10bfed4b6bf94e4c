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


def interleave(turns: Mapping[str, Turn], device: torch.device, rounds: int | None, budget: float) -> Times:
    """The duration per unit of every turn in every round, after a round of warm-up that is not kept.

    Args:
        turns: what is timed, by name; each round starts one further along.
        device: where it runs.
        rounds: number of rounds; None for as many as fit into ``budget``, from 3 to 30.
        budget: seconds.
    """
    names = list(turns)
    times: Times = {name: [] for name in names}
    warm_up = sum(timed(partial(turn.work, 0), device).seconds for turn in turns.values())
    if rounds is None:
        rounds = min(30, max(3, int(budget / max(warm_up, 1e-6))))
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            turn = turns[name]
            whole = timed(partial(turn.work, index), device)
            times[name].append(Duration(whole.seconds / turn.units, whole.load / turn.units))
    return times


def ratio(times: Times, name: str, base: str) -> Spread:
    """The time of ``name`` over that of ``base``, compared within each round."""
    return Spread.of([mine.load / other.load for mine, other in zip(times[name], times[base], strict=True)])

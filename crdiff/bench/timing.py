"""Interleaved timing: everything in turn, round after round, so that a machine's other work meets all alike."""

from __future__ import annotations

import statistics
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


Times = dict[str, list[float]]


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of ``work``, with what it leaves running on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def interleave(turns: Mapping[str, Turn], device: torch.device, rounds: int | None, budget: float) -> Times:
    """Seconds per unit of every turn in every round, after a round of warm-up that is not kept.

    Args:
        turns: what is timed, by name; each round starts one further along.
        device: where it runs.
        rounds: number of rounds; None for as many as fit into ``budget``, from 3 to 30.
        budget: seconds.
    """
    names = list(turns)
    times: Times = {name: [] for name in names}
    warm_up = sum(seconds(partial(turn.work, 0), device) for turn in turns.values())
    if rounds is None:
        rounds = min(30, max(3, int(budget / max(warm_up, 1e-6))))
    for index in range(rounds):
        first = index % len(names)
        for name in names[first:] + names[:first]:
            turn = turns[name]
            times[name].append(seconds(partial(turn.work, index), device) / turn.units)
    return times


def ratio(times: Times, name: str, base: str) -> Spread:
    """The time of ``name`` over that of ``base``, compared within each round."""
    return Spread.of([mine / other for mine, other in zip(times[name], times[base], strict=True)])

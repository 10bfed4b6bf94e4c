"""How much memory a piece of work allocates, read off torch's own allocator."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

T = TypeVar("T")


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What a piece of work returned, and the bytes it allocated.

    Attributes:
        result: what it returned, still held.
        peak: most bytes allocated at a time, beyond those at the start.
        kept: bytes still allocated at the end, beyond those at the start, ``result`` included.
    """

    result: T
    peak: int
    kept: int


def measure(work: Callable[[], T], device: torch.device) -> Measured[T]:
    """Run ``work`` and watch the allocations on ``device``.

    On a CPU every allocation of torch's is seen, those inside a kernel too, in whatever system; not seen is what
    libraries below it allocate for themselves. ``work`` runs under a profiler there, so its time means nothing.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        result = work()
        torch.cuda.synchronize(device)
        gc.collect()
        peak = torch.cuda.max_memory_allocated(device) - before
        return Measured(result, peak, torch.cuda.memory_allocated(device) - before)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        result = work()
        gc.collect()
    peak = live = 0
    for change in _changes(seen):
        live += change
        peak = max(peak, live)
    return Measured(result, peak, live)


def _changes(seen: Any) -> list[int]:
    """Bytes of every allocation (positive) and release (negative) in the order of their time."""
    found = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    # torch 2.3 changed the unit and the name.
    found.sort(key=lambda event: event.start_ns() if hasattr(event, "start_ns") else event.start_us())
    return [event.nbytes() for event in found]

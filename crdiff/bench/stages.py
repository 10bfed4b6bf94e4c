"""What ratios that change over the steps cost: images of four stages beside images of one, in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from crdiff.bench.calibrated import store_for
from crdiff.bench.modes import ACCESS, Case, Running
from crdiff.bench.operations import OperationCounter
from crdiff.bench.options import Options
from crdiff.bench.random_model import PUBLISHED, StepInputs, build_model, make_steps, with_the_same_weights
from crdiff.bench.steps import SCHEDULE
from crdiff.bench.timing import Progress, Spread, Turn, interleave, no_progress, ratio
from crdiff.guidance.capture import CudaBackend
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.pruning.store import Store

_BUDGET = 20.0
_SHARES = (1.0, 0.9, 0.8, 0.7)
"""Of the ratios, in each stage."""


@dataclass(frozen=True)
class StageCosts:
    """Images of four stages over images of one; a stage's first step makes the copies of its pruned weights.

    Attributes:
        time: of an image's steps.
        operations: multiplications and additions of them; None where some steps are replayed, which are not seen.
    """

    time: Spread
    operations: float | None


def four_stages(ratios: Ratios) -> Schedule:
    """Stages of equal length from ``ratios`` downwards."""
    return Schedule.even([[share * one for one in ratios] for share in _SHARES])


def measure_stages(options: Options, cases: Sequence[Case], progress: Progress = no_progress) -> dict[str, StageCosts]:
    """Time images of 16 steps, by the name of the case; the first ones, in which weights are looked at, do not count.

    Args:
        options: what is measured; ``rounds`` of None are as many as fit into about 20 seconds a case, at least two.
        cases: ways of computing a step.
        progress: told what is measured.
    """
    with torch.no_grad():
        published = PUBLISHED[options.family].scaled(options.scale)
        model = build_model(published, options.device, options.dtype)
        steps = make_steps(published, options.size, SCHEDULE, options.device, options.dtype)
        store = store_for(options.criterion, ACCESS, model, steps[0])
        cases = [replace(case, criterion=options.criterion, scope=options.scope) for case in cases]
        return {case.name: _compare(case, model, options, steps, store, progress) for case in cases}


def _compare(
    case: Case,
    model: torch.nn.Module,
    options: Options,
    steps: tuple[StepInputs, ...],
    store: Store,
    progress: Progress,
) -> StageCosts:
    schedules = {"one stage": Schedule.constant(options.ratios), "four stages": four_stages(options.ratios)}
    turns, counted = {}, []
    for name, schedule in schedules.items():
        progress(f"counting {case.name}, {name}")
        own = with_the_same_weights(model)
        running = Running(case, own, schedule, options.k, steps, store, backend=CudaBackend() if case.graphs else None)
        _image(running)
        with OperationCounter() as counter:
            _image(running)
        counted.append(counter.total)
        turns[name] = Turn(partial(_image, running), SCHEDULE)
    times = interleave(turns, options.device, options.rounds, _BUDGET, progress)
    operations = None if case.graphs else counted[1] / counted[0]
    return StageCosts(ratio(times, "four stages", "one stage"), operations)


def _image(running: Running, _round: int = 0) -> None:
    for index in range(SCHEDULE):
        running.step(index)


def stages_to_json(found: dict[str, StageCosts]) -> dict[str, Any]:
    """By case; times with the range of the middle half."""
    return {
        name: {
            "time": costs.time.median,
            "time_spread": [costs.time.low, costs.time.high],
            "operations": costs.operations,
        }
        for name, costs in found.items()
    }


def stages_lines(found: dict[str, StageCosts]) -> Iterator[str]:
    """The same as a table in Markdown."""
    yield f"Images of {SCHEDULE} steps in four stages, in images of one stage (median, middle half):"
    yield ""
    yield "| | time | operations |"
    yield "| --- | --- | --- |"
    for name, costs in found.items():
        operations = "" if costs.operations is None else f"{costs.operations:.3f}"
        yield f"| {name} | {costs.time.median:.3f} ({costs.time.low:.3f} to {costs.time.high:.3f}) | {operations} |"

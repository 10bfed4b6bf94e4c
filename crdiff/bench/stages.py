"""What ratios that change over the steps cost: images of four stages beside images of one, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from crdiff.bench.modes import Case, Running
from crdiff.bench.operations import OperationCounter
from crdiff.bench.options import Options
from crdiff.bench.random_unet import StepInputs, with_the_same_weights
from crdiff.bench.steps import SCHEDULE
from crdiff.bench.timing import Progress, Spread, Turn, interleave, ratio
from crdiff.bench.unet import UNetModel
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.pruning.store import Store

_BUDGET = 8.0
_SHARES = (1.0, 0.9, 0.8, 0.7)
"""Of the ratios, in each stage."""


@dataclass(frozen=True)
class StageCosts:
    """Four stages over one; a stage's first step makes the copies of its pruned weights.

    Attributes:
        ratio: time of an image's steps.
        operations: multiplications and additions of them.
    """

    ratio: Spread
    operations: float


def four_stages(ratios: Ratios) -> Schedule:
    """Stages of equal length from ``ratios`` downwards."""
    return Schedule.even([[share * one for one in ratios] for share in _SHARES])


def compare_stages(
    case: Case, unet: UNetModel, options: Options, steps: tuple[StepInputs, ...], store: Store, progress: Progress
) -> StageCosts:
    """Time whole images; the first of each, in which weights may have to be looked at, is not counted."""
    schedules = {"constant": Schedule.constant(options.ratios), "stages": four_stages(options.ratios)}
    turns, operations = {}, {}
    for name, schedule in schedules.items():
        running = Running(case, with_the_same_weights(unet), schedule, options.k, steps, store)
        _image(running)
        with OperationCounter() as counter:
            _image(running)
        operations[name] = counter.total
        turns[name] = Turn(partial(_image, running), SCHEDULE)
    times = interleave(turns, options.device, options.rounds, _BUDGET, progress)
    return StageCosts(ratio(times, "stages", "constant"), operations["stages"] / operations["constant"])


def _image(running: Running, _round: int = 0) -> None:
    for index in range(SCHEDULE):
        running.step(index)

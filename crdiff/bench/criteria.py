"""What each criterion costs: the pruned pass alone and both passes, beside one dense pass, in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from crdiff.bench.allocations import measure
from crdiff.bench.calibrated import store_for
from crdiff.bench.modes import ACCESS, Case, Running
from crdiff.bench.operations import OperationCounter
from crdiff.bench.options import Options
from crdiff.bench.random_model import PUBLISHED, build_model, make_steps, with_the_same_weights
from crdiff.bench.steps import SCHEDULE, UNTIL_CAPTURED, StepFunction, take_turn
from crdiff.bench.timing import Progress, Spread, Turn, interleave, no_progress, ratio, timed
from crdiff.guidance.capture import CudaBackend
from crdiff.method.schedule import Schedule
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.pruning.store import Store

_BUDGET = 4.0
_MIB = 2**20
_DENSE = "dense"


@dataclass(frozen=True)
class Way:
    """How a criterion's steps are computed.

    Attributes:
        name: what it is called in the results.
        k: amplification; None for the one asked for.
        graphs: whether steps are captured in CUDA graphs.
    """

    name: str
    k: float | None = None
    graphs: bool = False


WAYS = (Way("pruned alone", 1.0), Way("both passes"), Way("both passes in a graph", graphs=True))


def ways_on(device: torch.device) -> tuple[Way, ...]:
    """Those that can be measured there."""
    return tuple(way for way in WAYS if device.type == "cuda" or not way.graphs)


@dataclass(frozen=True)
class WayCosts:
    """One way of computing a criterion's steps.

    Attributes:
        time: of a step over that of one dense pass in the same round.
        operations: multiplications and additions of a step over those of one dense pass; 0 if it was replayed.
        extra_bytes: memory during a step beyond a dense pass's, at the peak, with what is held between steps.
    """

    time: Spread
    operations: float
    extra_bytes: int


@dataclass(frozen=True)
class CriterionCosts:
    """A criterion.

    Attributes:
        ways: by name.
        calibration: seconds of watching one pass, with what is gathered besides; 0 where nothing is needed.
        first_step: seconds until the first step of a model whose weights are new is done.
        refusal: why it was not measured; empty if it was.
    """

    ways: dict[str, WayCosts]
    calibration: float
    first_step: float
    refusal: str = ""


class _Bench:
    """A model whose steps every criterion computes.

    Args:
        options: what is measured; their criterion does not count.
    """

    def __init__(self, options: Options) -> None:
        published = PUBLISHED[options.family].scaled(options.scale)
        self._options, self._device = options, options.device
        self._model = build_model(published, options.device, options.dtype)
        self._steps = make_steps(published, options.size, SCHEDULE, options.device, options.dtype)
        self._dense(0)
        self._usual = measure(partial(self._dense, 0), self._device).peak
        self._operations = _counted(self._dense)

    def costs(self, criterion: str, progress: Progress) -> CriterionCosts:
        """Of one criterion, of which nothing is kept."""
        stores: list[Store] = []
        progress(f"calibrating for {criterion}")
        calibration = timed(lambda: stores.append(self._calibrated(criterion)), self._device).seconds
        # By itself: what is watched for its memory is slower.
        beginning = self._running(WAYS[0], criterion, Store(calibrations=stores[0].calibrations))
        with beginning.run:
            first = timed(partial(beginning.step, 0), self._device).seconds
        if beginning.run.refusals:
            return CriterionCosts({}, calibration, first, " ".join(beginning.run.refusals))
        turns, known = {_DENSE: Turn(self._dense)}, {}
        for way in ways_on(self._device):
            progress(f"checking {criterion}, {way.name}")
            running = self._running(way, criterion, Store(calibrations=stores[0].calibrations))
            made = measure(partial(_begin, running.step, UNTIL_CAPTURED if way.graphs else 1), self._device)
            during = measure(partial(running.step, SCHEDULE), self._device)
            operations = 0.0 if way.graphs else _counted(running.step) / self._operations
            known[way.name] = operations, made.kept + during.peak - self._usual
            turns[way.name] = Turn(partial(take_turn, running.step, 1))
        times = interleave(turns, self._device, self._options.rounds, _BUDGET, progress)
        ways = {name: WayCosts(ratio(times, name, _DENSE), *rest) for name, rest in known.items()}
        return CriterionCosts(ways, calibration if CRITERIA[criterion].needs is not Needs.NOTHING else 0.0, first)

    def _calibrated(self, criterion: str) -> Store:
        return store_for(criterion, ACCESS, self._model, self._steps[0])

    def _running(self, way: Way, criterion: str, store: Store) -> Running:
        options = self._options
        case = Case(way.name, DEFAULT_MODE, criterion=criterion, scope=options.scope, graphs=way.graphs)
        schedule = Schedule.constant(options.ratios)
        backend = CudaBackend() if way.graphs else None
        own = with_the_same_weights(self._model)
        return Running(case, own, schedule, options.k if way.k is None else way.k, self._steps, store, backend=backend)

    def _dense(self, index: int) -> torch.Tensor:
        found: torch.Tensor = self._model(*self._steps[index % SCHEDULE])
        return found


def _begin(step: StepFunction, steps: int) -> None:
    """The first steps, after which a run holds all that it keeps between them."""
    for index in range(steps):
        step(index)


def _counted(step: StepFunction) -> int:
    with OperationCounter() as counter:
        step(SCHEDULE)
    return int(counter.total)


def measure_criteria(
    options: Options, criteria: Sequence[str], progress: Progress = no_progress
) -> Iterator[tuple[str, CriterionCosts]]:
    """One criterion after the other, each as soon as it is measured.

    Args:
        options: what is measured; ``rounds`` of None are as many as fit into about four seconds a criterion.
        criteria: names in ``CRITERIA``.
        progress: told what is measured.

    Raises:
        UnsupportedModelError: the model cannot be calibrated.
    """
    with torch.no_grad():
        bench = _Bench(options)
        for name in criteria:
            yield name, bench.costs(name, progress)


def criteria_to_json(found: dict[str, CriterionCosts]) -> dict[str, Any]:
    """By criterion; times with the range of the middle half."""
    return {
        name: {
            "ways": {
                way: {
                    "time": one.time.median,
                    "time_spread": [one.time.low, one.time.high],
                    "operations": one.operations,
                    "extra_bytes": one.extra_bytes,
                }
                for way, one in costs.ways.items()
            },
            "calibration_seconds": costs.calibration,
            "first_step_seconds": costs.first_step,
            "refusal": costs.refusal,
        }
        for name, costs in found.items()
    }


def criteria_lines(options: Options, found: Iterable[tuple[str, CriterionCosts]]) -> Iterator[str]:
    """The same as a table in Markdown, row after row."""
    ways = [way.name for way in ways_on(options.device)]
    yield (
        f"{options.described}. Times of a step (median, middle half) and operations in those of one dense pass; memory "
        "beside it in MiB; seconds of what comes once a model:"
    )
    yield ""
    heads = [head for way in ways for head in (way, "operations", "memory")]
    yield "| " + " | ".join(["criterion", *heads, "calibrating by one pass, s", "first step, s"]) + " |"
    yield "| --- " * (len(heads) + 3) + "|"
    for name, costs in found:
        cells = [cell for way in ways for cell in _cells(costs.ways.get(way))]
        calibration = f"{costs.calibration:.2f}" if costs.calibration else ""
        yield "| " + " | ".join([name, *cells, calibration, costs.refusal or f"{costs.first_step:.2f}"]) + " |"


def _cells(costs: WayCosts | None) -> list[str]:
    if costs is None:
        return ["", "", ""]
    operations = f"{costs.operations:.2f}" if costs.operations else ""
    time = costs.time
    return [f"{time.median:.2f} ({time.low:.2f} to {time.high:.2f})", operations, f"{costs.extra_bytes / _MIB:.1f}"]

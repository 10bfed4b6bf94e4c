"""The benchmark: every mode against a dense pass and the authors' design, in turn, on one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from crdiff.bench.allocations import measure
from crdiff.bench.calibrated import store_for
from crdiff.bench.floors import Arithmetic, count_operations
from crdiff.bench.graph import DenseGraph, GraphCosts, MeasuredBackend
from crdiff.bench.modes import ACCESS, CASES, GRAPH, Case, Running
from crdiff.bench.operations import OperationCounter
from crdiff.bench.options import Options
from crdiff.bench.random_model import PUBLISHED, StepInputs, build_model, make_steps, with_the_same_weights
from crdiff.bench.reference import units_of
from crdiff.bench.results import Results, StepCosts
from crdiff.bench.steps import SCHEDULE, StepFunction, mode_step, reference_step, take_turn
from crdiff.bench.thresholds import compare
from crdiff.bench.timing import Progress, Spread, Times, Turn, interleave, no_progress, ratio
from crdiff.guidance.capture import CudaBackend
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule, StepWindow
from crdiff.models.architecture import find_layers
from crdiff.pruning.store import Store

_STEPS_BUDGET = 8.0
_DISABLED_BUDGET = 2.0
_THRESHOLD_ROUNDS = 2


@dataclass(frozen=True)
class Pruned:
    """Which groups are pruned, which decides what both passes can share."""

    name: str
    groups: tuple[str, ...]

    def of(self, ratios: Ratios) -> Ratios:
        """``ratios`` with those of the other groups set to 0."""
        return Ratios(**{group: ratios[group] for group in self.groups})


ALL = Pruned("all", GROUPS)
GROUP_SETS = (ALL, Pruned("down=0", ("mid", "up")), Pruned("down=mid=0", ("up",)))


@dataclass(frozen=True)
class _Expected:
    """What the authors' design gives, and the dense model, for the first steps of the schedule."""

    reference: tuple[torch.Tensor, ...]
    dense: tuple[torch.Tensor, ...]

    def compare(self, found: Sequence[torch.Tensor]) -> tuple[bool, float]:
        """Bitwise equality and deviation of the schedule's first steps."""
        apart = moved = 0.0
        for result, reference, dense in zip(found, self.reference, self.dense):
            apart += float((result.float() - reference.float()).square().sum())
            moved += float((reference.float() - dense.float()).square().sum())
        equal = all(map(torch.equal, found, self.reference))
        return equal, (apart / moved) ** 0.5 if moved else float("inf")


@dataclass(frozen=True)
class _Watched:
    """A way of computing steps, what it gave and what a step took; see ``StepCosts``."""

    step: StepFunction
    found: tuple[torch.Tensor, ...]
    operations: float
    extra: int
    setup_extra: int


@dataclass(frozen=True)
class _Checked:
    """What is known of a way before it is timed; see ``StepCosts``. ``operations`` are those of one step."""

    operations: float
    extra: int
    setup_extra: int
    bitwise_equal: bool
    deviation: float


class _Memory:
    """Peaks beyond that of a dense pass."""

    def __init__(self, model: torch.nn.Module, inputs: StepInputs, device: torch.device) -> None:
        self._device = device
        model(*inputs)
        self._dense = measure(lambda: model(*inputs), device).peak

    def watch(self, work: Callable[[], StepFunction], steps: int) -> _Watched:
        """Make a step function and compute the first steps of a schedule with it."""
        made = measure(work, self._device)
        step = made.result
        counter = OperationCounter()

        def compute() -> tuple[torch.Tensor, ...]:
            with counter:
                return tuple(step(SCHEDULE + index) for index in range(steps))

        during = measure(compute, self._device)
        operations = counter.total / steps
        extra = made.kept + during.peak - self._dense
        return _Watched(step, during.result, operations, extra, made.peak - self._dense)


def run_benchmark(
    options: Options,
    cases: Sequence[Case] = CASES,
    group_sets: Sequence[Pruned] = GROUP_SETS,
    progress: Progress = no_progress,
) -> Results:
    """Measure everything; the first of the sets of pruned groups must be that of all groups."""
    with torch.no_grad():
        return _run(
            options,
            [replace(case, criterion=options.criterion, scope=options.scope) for case in cases],
            group_sets,
            progress,
        )


def _run(options: Options, cases: Sequence[Case], group_sets: Sequence[Pruned], progress: Progress) -> Results:
    device, size, scope = options.device, options.size, options.scope
    published = PUBLISHED[options.family].scaled(options.scale)
    progress("making a model")
    operations = count_operations(published, size, scope)
    model = build_model(published, device, options.dtype)
    held = {layer.group for layer in find_layers(model, scope).layers}
    group_sets = [pruned for pruned in group_sets if held.intersection(pruned.groups)]
    steps = make_steps(published, size, SCHEDULE, device, options.dtype)
    memory = _Memory(model, steps[0], device)
    store = store_for(options.criterion, ACCESS, model, steps[0])

    backend = MeasuredBackend(device) if any(case.graphs for case in cases) else None
    turns = {"dense": Turn(lambda index: model(*steps[index % SCHEDULE]))}
    checked: dict[tuple[str, str], _Checked] = {}
    for pruned in group_sets:
        ratios = pruned.of(options.ratios)
        captures = backend if pruned is group_sets[0] else CudaBackend()
        chosen = [case for case in cases if pruned is group_sets[0] or case.all_groups]
        compared = max([case.steps for case in chosen], default=1)
        dense = tuple(model(*inputs) for inputs in steps[:compared])
        progress(f"checking the reference, {pruned.name}")
        watched = memory.watch(partial(reference_step, model, ratios, options.k, steps, scope), compared)
        expected = _Expected(watched.found, dense)
        if pruned is group_sets[0]:
            turns["reference"] = Turn(partial(take_turn, watched.step, 1))
            checked["reference", pruned.name] = _check(watched, expected)
        for case in chosen:
            progress(f"checking {case.name}, {pruned.name}")
            watched = memory.watch(
                partial(mode_step, case, model, ratios, options.k, steps, store, captures), case.steps
            )
            turns[_turn_name(case.name, pruned.name)] = Turn(partial(take_turn, watched.step, case.steps), case.steps)
            checked[case.name, pruned.name] = _check(watched, expected)
        del watched
    if backend is not None:
        dense_graph = DenseGraph(model, steps[0])
        turns["dense graph"] = Turn(lambda index: dense_graph.step(steps[index % SCHEDULE]))
    times = interleave(turns, device, options.rounds, _STEPS_BUDGET, progress)
    floors = {pruned.name: operations.floor(pruned.groups) for pruned in group_sets}

    def costs(case: str, pruned: Pruned, turn: str, floor: float | None) -> StepCosts:
        known = checked[case, pruned.name]
        return StepCosts(
            ratio(times, turn, "dense"),
            known.operations / operations.total,
            known.extra,
            known.setup_extra,
            known.bitwise_equal,
            known.deviation,
            floor,
        )

    found = {
        case.name: {
            pruned.name: costs(
                case.name,
                pruned,
                _turn_name(case.name, pruned.name),
                floors[pruned.name] if case.both_passes else None,
            )
            for pruned in group_sets
            if (case.name, pruned.name) in checked
        }
        for case in cases
    }
    turns.clear()
    progress("switched off")
    off = _when_off(cases[0], model, options, steps, store, progress)
    progress("thresholds")
    return Results(
        options,
        len(times["dense"]),
        Spread.of([duration.seconds for duration in times["dense"]]),
        costs("reference", group_sets[0], "reference", None),
        found,
        floors,
        _full_width(options, operations, group_sets),
        ratio(off, "disabled", "dense"),
        ratio(off, "outside", "dense"),
        compare(
            units_of(model, scope), options.ratios, device, min(options.rounds or _THRESHOLD_ROUNDS, _THRESHOLD_ROUNDS)
        ),
        None if backend is None else _graph_costs(times, backend),
    )


def _graph_costs(times: Times, backend: MeasuredBackend) -> GraphCosts:
    step = _turn_name(GRAPH.name, ALL.name)
    dense = "dense graph"
    return GraphCosts(ratio(times, dense, "dense"), ratio(times, step, dense), backend.seconds, backend.bytes)


def _turn_name(mode: str, case: str) -> str:
    return f"{mode} {case}"


def _check(watched: _Watched, expected: _Expected) -> _Checked:
    return _Checked(watched.operations, watched.extra, watched.setup_extra, *expected.compare(watched.found))


def _when_off(
    case: Case,
    model: torch.nn.Module,
    options: Options,
    steps: tuple[StepInputs, ...],
    store: Store,
    progress: Progress,
) -> Times:
    """Dense passes of a model that never met a run, of one whose run was closed, and of one outside the window."""
    closed_model, outside_model = with_the_same_weights(model), with_the_same_weights(model)
    schedule = Schedule.constant(options.ratios)
    closed = Running(case, closed_model, schedule, options.k, steps, store)
    closed.step(0)
    closed.run.close()
    outside = Running(case, outside_model, schedule, options.k, steps, store, StepWindow(0.0, 0.5))
    outside.step(0)
    last = SCHEDULE - 1
    inputs = steps[last]
    turns = {
        "dense": Turn(lambda _: model(*inputs)),
        "disabled": Turn(lambda _: closed_model(*inputs)),
        "outside": Turn(lambda _: outside.step(last)),
    }
    return interleave(turns, options.device, options.rounds, _DISABLED_BUDGET, progress)


def _full_width(options: Options, operations: Arithmetic, group_sets: Sequence[Pruned]) -> dict[str, float]:
    if options.scale != 1.0:
        operations = count_operations(PUBLISHED[options.family], options.size, options.scope)
    return {pruned.name: operations.floor(pruned.groups) for pruned in group_sets}

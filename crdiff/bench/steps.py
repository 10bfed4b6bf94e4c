"""Ways of computing the steps of a schedule, and how they take turns."""

from __future__ import annotations

from collections.abc import Callable

import torch

from crdiff.bench.modes import Case, Running
from crdiff.bench.random_model import StepInputs, with_the_same_weights
from crdiff.bench.reference import TwoModels
from crdiff.guidance.capture import Backend
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.scope import Scope
from crdiff.pruning.store import Store

SCHEDULE = 16
"""Steps of an image; every mode's state is a matter of fewer."""

StepFunction = Callable[[int], torch.Tensor]
"""Gives the prediction of a step; from the schedule's end on its inputs come again."""

UNTIL_CAPTURED = 6
"""Steps until a case with graphs replays them."""


def take_turn(step: StepFunction, steps: int, index: int) -> None:
    """One round's share: as many steps as are timed together. Each begins a schedule of its own."""
    first = (index + 2) * SCHEDULE
    for position in range(steps) if steps > 1 else (index % SCHEDULE,):
        step(first + position)


def reference_step(
    model: torch.nn.Module,
    ratios: Ratios,
    k: float,
    steps: tuple[StepInputs, ...],
    scope: Scope = Scope(),  # noqa: B008 (frozen)
) -> StepFunction:
    """The authors' design."""
    two = TwoModels(model, ratios, k, scope)
    return lambda index: two.step(steps[index % SCHEDULE])


def mode_step(
    case: Case,
    model: torch.nn.Module,
    ratios: Ratios,
    k: float,
    steps: tuple[StepInputs, ...],
    store: Store,
    backend: Backend | None = None,
) -> StepFunction:
    """A case, with its first step done, and the step that is captured if there is one."""
    running = Running(case, with_the_same_weights(model), Schedule.constant(ratios), k, steps, store, backend=backend)
    for index in range(UNTIL_CAPTURED if case.graphs else 1):
        running.step(index)
    return running.step

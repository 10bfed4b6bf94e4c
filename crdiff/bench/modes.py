"""What the benchmark goes through: every mode, and exact with and without copies of pruned weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from crdiff.bench.graph import arguments_of
from crdiff.bench.random_model import StepInputs
from crdiff.guidance.access import PlainAccess
from crdiff.guidance.capture import Backend
from crdiff.guidance.run import Run
from crdiff.method.schedule import Position, Schedule, StepWindow
from crdiff.models.scope import Scope
from crdiff.modes.balanced import REFRESH
from crdiff.modes.registry import DEFAULT_MODE, MODES
from crdiff.plan import Plan, Planner
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.pruning.store import Store


@dataclass(frozen=True)
class Case:
    """One way of computing a step.

    Attributes:
        name: its key in the results.
        mode: a name in ``MODES``.
        policy: how many copies of pruned weights are kept.
        all_groups: whether it is measured with some groups left unpruned too.
        steps: number of consecutive steps that are timed together, for modes whose steps cost differently.
        graphs: whether steps are captured in CUDA graphs.
        criterion: what decides which weights are pruned.
        scope: which layers are, and what shares a threshold.
    """

    name: str
    mode: str
    policy: CopyPolicy = CopyPolicy.AUTO
    all_groups: bool = False
    steps: int = 1
    graphs: bool = False
    criterion: str = DEFAULT_CRITERION
    scope: Scope = Scope()  # noqa: RUF009 (frozen)

    @property
    def both_passes(self) -> bool:
        """Whether it computes both passes at every step, so that their floor applies."""
        return MODES[self.mode].passes >= 2.0


def _cases() -> Iterator[Case]:
    for name, mode in MODES.items():
        if name == DEFAULT_MODE:
            yield Case(name, name, all_groups=True)
            yield Case("on_the_fly", name, CopyPolicy.NEVER)
            yield Case("kept_copies", name, CopyPolicy.ALWAYS)
        else:
            yield Case(name, name, steps=1 if mode.passes == int(mode.passes) else REFRESH)


CASES = tuple(_cases())

ACCESS = PlainAccess("bench")

GRAPH = Case("graph", DEFAULT_MODE, all_groups=True, graphs=True)
"""Only on CUDA."""


class Running:
    """A case at work on one model.

    Args:
        case: the case.
        model: the model; the run patches these modules.
        schedule: the pruning ratios over the steps.
        k: amplification.
        steps: the inputs of the schedule's steps.
        store: what has been gathered of weights seen before.
        window: the steps to act in.
        backend: what captures, for a case with graphs.
    """

    def __init__(
        self,
        case: Case,
        model: torch.nn.Module,
        schedule: Schedule,
        k: float,
        steps: tuple[StepInputs, ...],
        store: Store,
        window: StepWindow = StepWindow(),  # noqa: B008 (frozen)
        backend: Backend | None = None,
    ) -> None:
        plan = Plan(schedule, k, "benchmark")
        self._model, self._steps = model, steps
        planner = Planner(lambda checkpoint: plan, window, case.mode, case.criterion, case.scope)
        self.run = Run(planner, ACCESS, store, case.policy, backend if case.graphs else None)

    def step(self, index: int) -> torch.Tensor:
        """The prediction of step ``index``; beyond the schedule's end its inputs come again."""
        inputs = self._steps[index % len(self._steps)]
        self.run.position = Position(index, len(self._steps))
        return self.run.predict(
            self._model,
            lambda: self._model(*inputs),
            inputs.x.device,
            inputs.context,
            lambda: self._model(*inputs.doubled()),
            arguments_of(self._model, inputs),
        )

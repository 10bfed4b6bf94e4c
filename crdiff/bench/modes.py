"""The ways this package has of computing a step, as the table that the benchmark goes through."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import torch

from crdiff.bench.shape import StepInputs
from crdiff.bench.unet import UNetModel
from crdiff.guidance.access import WeightsIdentity
from crdiff.guidance.run import SamplingRun
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Position, StepWindow
from crdiff.models.family import Family
from crdiff.modes.mode import Execution
from crdiff.modes.mode import Mode as ComputeMode
from crdiff.plan import ConstantRatios, Plan, Planner
from crdiff.pruning.linear import run_with_weight
from crdiff.pruning.memory import Storage
from crdiff.pruning.store import ProfileCache


@dataclass(frozen=True)
class Setting:
    """What a host gives a run.

    Attributes:
        planner: gives the ratios and k that are measured.
        window: the steps to act in.
        cache: profiles of weights seen before.
    """

    planner: Planner
    window: StepWindow
    cache: ProfileCache


@dataclass(frozen=True)
class Mode:
    """One way of computing a step.

    Attributes:
        name: its key in the results.
        make_run: the run, as a host would make it.
        exact: whether it computes both passes, so that their floor applies.
        all_cases: whether it is measured with some groups left unpruned too.
        steps: number of consecutive steps that are timed together, for modes whose steps cost differently.
    """

    name: str
    make_run: Callable[[Setting], SamplingRun]
    exact: bool = True
    all_cases: bool = False
    steps: int = 1


class BenchAccess:
    """The model as a host whose weights never change."""

    run_layer = staticmethod(run_with_weight)

    def identity(self) -> WeightsIdentity:
        return WeightsIdentity("bench", None, "bench", ())

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        return module.get_parameter("weight")

    def generators(self) -> tuple[random.Random, ...]:
        return ()


def _mode(name: str, execution: Execution, *, exact: bool = True, all_cases: bool = False, steps: int = 1) -> Mode:
    def make_run(given: Setting) -> SamplingRun:
        return SamplingRun(given.planner, given.window, BenchAccess(), given.cache, execution=execution)

    return Mode(name, make_run, exact, all_cases, steps)


_REFRESH = 8
MODES = (
    _mode("exact", Execution(), all_cases=True),
    _mode("on_the_fly", Execution(storage=Storage.NEVER)),
    _mode("kept_copies", Execution(storage=Storage.ALWAYS)),
    _mode("batched", Execution(ComputeMode.BATCHED)),
    _mode("balanced", Execution(ComputeMode.BALANCED, refresh=_REFRESH), exact=False, steps=_REFRESH),
    _mode("fast", Execution(ComputeMode.FAST), exact=False),
)


class Running:
    """A mode at work on one UNet.

    Args:
        mode: the mode.
        unet: the UNet; the run hangs its overrides onto these modules.
        ratios: the pruning ratios.
        k: amplification.
        steps: the inputs of the schedule's steps.
        cache: profiles of weights seen before.
        window: the steps to act in.
    """

    def __init__(
        self,
        mode: Mode,
        unet: UNetModel,
        ratios: Ratios,
        k: float,
        steps: tuple[StepInputs, ...],
        cache: ProfileCache,
        window: StepWindow = StepWindow(),  # noqa: B008 (frozen)
    ) -> None:
        plan = Plan(ConstantRatios(ratios), k, "benchmark")

        def planner(_family: Family, _sha256: str | None) -> Plan:
            return plan

        self._unet, self._steps = unet, steps
        self.run = mode.make_run(Setting(planner, window, cache))

    def step(self, index: int) -> torch.Tensor:
        """The prediction of step ``index``; beyond the schedule's end its inputs come again."""
        inputs = self._steps[index % len(self._steps)]
        self.run.position = Position(index, len(self._steps))
        return self.run.predict(
            self._unet,
            lambda: self._unet.predict(inputs),
            inputs.x.device,
            inputs.context,
            lambda: self._unet.predict(inputs.doubled()),
        )

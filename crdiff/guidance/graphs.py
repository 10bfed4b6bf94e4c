"""A step's passes and their mix as one CUDA graph: launched at once, for the same result bit for bit.

Where launching rules, a step in a graph costs less than the host's own pass. The first steps of a run are computed
eagerly; then one is captured, and what its first replay gives is compared with what was computed. Where ratios or k
change over the steps, the graph reads them from memory that is written over; the first step after the first change of
either is computed and compared again. Whatever a graph cannot hold is found beforehand or at each step, and then the
run goes on eagerly.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from crdiff.guidance.capture import Backend, Graph
from crdiff.guidance.static_model import StaticModel

_log = logging.getLogger("crdiff")

EAGER_STEPS = 2
"""Before a capture: copies of pruned weights are made in the second one, and libraries have chosen their kernels."""

_MOST_GRAPHS = 3
"""Of a run, whose calls may come in several shapes; each graph holds the memory of its passes."""


@dataclass(frozen=True)
class Arguments:
    """The arguments of a UNet call, taken apart.

    Attributes:
        tensors: all tensors among them, in order, each on the UNet's device.
        rest: everything else and where the tensors belong; equal for calls that differ in nothing but tensors.
        run: one pass on other tensors of the same shapes.
    """

    tensors: tuple[torch.Tensor, ...]
    rest: Any
    run: Callable[[tuple[torch.Tensor, ...]], torch.Tensor]


class Computation(Protocol):
    """A step's way to its prediction, as graphs need it."""

    @property
    def kind(self) -> str:
        """Which of the step's predictions this is."""

    @property
    def state(self) -> Any:
        """What it computes with beside its arguments; when this is no longer equal, no graph holds any more."""

    @property
    def stage(self) -> tuple[Any, float]:
        """What of it lies in memory that graphs read: the weights, and k."""

    @property
    def k(self) -> float:
        """Amplification, which graphs read from memory."""

    @property
    def arguments(self) -> Arguments:
        """Of the call."""

    def refresh(self) -> bool:
        """Write the stage's weights where graphs read them, before a replay; whether they could be."""

    def eager(self) -> tuple[torch.Tensor, str | None]:
        """The prediction, and what has been met on the way to it that a graph cannot hold."""

    def captured(self, tensors: tuple[torch.Tensor, ...], k: torch.Tensor) -> torch.Tensor:
        """The prediction from other tensors and with k as ``amplify`` takes it, while a graph is captured."""


@dataclass
class _Captured:
    """A graph and the memory that it works on.

    Attributes:
        graph: what was captured.
        inputs: what it reads the step's from.
        k: what it reads amplification from.
        output: what it writes.
        stage: what its memory holds; None if that is not known.
        read: places in ``stage`` that have changed and been compared since: it is known to read them.
    """

    graph: Graph
    inputs: tuple[torch.Tensor, ...]
    k: torch.Tensor
    output: torch.Tensor
    stage: tuple[Any, float] | None = None
    read: frozenset[int] = frozenset()

    def holds(self, step: Computation) -> bool:
        """Whether a replay gives the step; its stage is entered where that is known to be enough."""
        if self.stage == step.stage:
            return True
        if self.stage is None:
            return False
        changed = _changed(self.stage, step.stage)
        if not changed <= self.read:
            return False
        try:
            if _WEIGHTS in changed and not step.refresh():
                return False
        except torch.cuda.OutOfMemoryError:  # computing the step gives back what it can
            return False
        self.k.fill_(step.k)
        self.stage = step.stage
        return True

    def replay(self, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The prediction, in memory that the next replay writes over."""
        for mine, given in zip(self.inputs, tensors):
            mine.copy_(given)
        self.graph.replay()
        return self.output

    def proves(self, step: Computation, expected: torch.Tensor) -> bool:
        """Whether a replay gives what was computed, and so will in the rest of the stage."""
        last, self.stage = self.stage, None
        self.k.fill_(step.k)
        if not torch.equal(self.replay(step.arguments.tensors), expected):
            return False
        self.stage = step.stage
        if last is not None:
            self.read |= _changed(last, step.stage)
        return True


_WEIGHTS = 0
"""Their place in a stage."""


def _changed(stage: tuple[Any, float], other: tuple[Any, float]) -> frozenset[int]:
    return frozenset(place for place, (one, its) in enumerate(zip(stage, other)) if one != its)


@dataclass
class _Shape:
    """Calls alike in everything but their tensors' values."""

    signature: Any
    eager_steps: int = 0
    captured: _Captured | None = None


class StepGraphs:
    """The graphs of one model in a run, until ``close``.

    Args:
        model: the UNet.
        device: where it runs.
        backend: what captures.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device, backend: Backend) -> None:
        self._model, self._device, self._backend = model, device, backend
        self._shapes: list[_Shape] = []
        self._state: Any = None
        self._static: StaticModel | None = None
        self.off: str | None = backend.obstacle(device)
        """Why no graph is used any more; None while they may be."""
        self.replayed = 0
        """How many predictions were replayed."""

    @property
    def holding(self) -> bool:
        """Whether there is a graph."""
        return any(shape.captured is not None for shape in self._shapes)

    def predict(self, step: Computation) -> torch.Tensor:
        """The prediction of a step: replayed where a graph holds it, else computed."""
        if self.off is not None:
            return step.eager()[0]
        if self._static is not None and (changed := self._static.changed()) is not None:
            self._give_up(changed)
            return step.eager()[0]
        shape = self._shape_of(step)
        if shape.captured is not None and shape.captured.holds(step):
            self.replayed += 1
            return shape.captured.replay(step.arguments.tensors).clone()
        prediction, obstacle = step.eager()
        if obstacle is not None:
            self._give_up(obstacle)
        elif self.off is not None or self._state != step.state:
            pass  # memory ran out, or copies were made: what there was of graphs does not hold
        elif shape.captured is not None:
            self._prove(shape.captured, step, prediction)
        elif shape.eager_steps < EAGER_STEPS:
            shape.eager_steps += 1
        elif sum(other.captured is not None for other in self._shapes) < _MOST_GRAPHS:
            self._capture(shape, step, prediction)
        return prediction

    def _shape_of(self, step: Computation) -> _Shape:
        if self._state != step.state:
            self.forget()
            self._state = step.state
        tensors = [(one.shape, one.dtype, one.device, one.stride()) for one in step.arguments.tensors]
        signature = (step.kind, step.arguments.rest, tensors, _autocast(), torch.is_inference_mode_enabled())
        for shape in self._shapes:
            if shape.signature == signature:
                return shape
        self._shapes.append(_Shape(signature))
        return self._shapes[-1]

    def _capture(self, shape: _Shape, step: Computation, expected: torch.Tensor) -> None:
        """Capture a step that was just computed, unless the model or the memory does not allow for it."""
        static = self._static or StaticModel(self._model, self._device)
        if (obstacle := static.obstacle()) is not None or torch.is_grad_enabled():
            self._give_up(obstacle or "gradients are recorded")
            return
        try:
            inputs = tuple(tensor.clone() for tensor in step.arguments.tensors)
            k = torch.tensor(step.k, dtype=torch.float64, device=self._device)
            graph, output = self._backend.capture(lambda: step.captured(inputs, k))
        except Exception as error:  # whatever goes wrong in a capture, the step has been computed already
            self._give_up(_reason(error))
            return
        self._static, shape.captured = static, _Captured(graph, inputs, k, output)
        self._prove(shape.captured, step, expected)

    def _prove(self, captured: _Captured, step: Computation, expected: torch.Tensor) -> None:
        """Compare a replay with a step that was just computed; if they differ, no graph is used any more."""
        try:
            equal = captured.proves(step, expected)
        except Exception as error:  # as above
            self._give_up(_reason(error))
            return
        if not equal:
            self._give_up("a replayed step differs from the computed one")

    def _give_up(self, reason: str) -> None:
        _log.info("CUDA graphs are not used: %s.", reason)
        self.off = reason
        self.close()

    def close(self) -> None:
        """Free every graph and its memory; what comes later is computed."""
        self.forget()
        self.off = self.off or "the run is over"

    def forget(self) -> None:
        """Free every graph and its memory; what comes later may be captured anew."""
        for shape in self._shapes:
            shape.captured = None  # a prediction that is under way may hold the shape
        self._shapes.clear()
        self._state = self._static = None
        self._backend.close()


def _reason(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def _autocast() -> torch.dtype | None:
    """What autocast casts to on CUDA; None where it is off."""
    if not torch.is_autocast_enabled():
        return None
    # torch 2.4 has a function for every kind of device and deprecates the other.
    known = getattr(torch, "get_autocast_dtype", None)
    return torch.get_autocast_gpu_dtype() if known is None else known("cuda")

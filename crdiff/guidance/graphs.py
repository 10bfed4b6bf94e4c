"""A step's passes and their mix as one CUDA graph: launched at once, for the same result bit for bit.

Where launching rules, a step in a graph costs less than the host's own pass. The first steps of a run are computed
eagerly; then one is captured, and what its first replay gives is compared with what was computed. Where ratios or k
change over the steps, the graph reads them from memory that is written over, and the first step of a stage is computed
and compared again. Whatever a graph cannot hold is found beforehand or at each step, and then the run goes on eagerly.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

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


class Graph(Protocol):
    """Work that was captured."""

    def replay(self) -> None:
        """Do it again, on what the same memory holds now."""


class Backend(Protocol):
    """What captures: CUDA, and in tests a stand-in."""

    def obstacle(self, device: torch.device) -> str | None:
        """Why nothing can be captured on a device; None if it can."""

    def capture(self, work: Callable[[], torch.Tensor]) -> tuple[Graph, torch.Tensor]:
        """Capture ``work``; the tensor holds its result after each replay."""

    def close(self) -> None:
        """All graphs are gone: give back their memory."""


class CudaBackend:
    """See Backend. The graphs of a run share one pool of memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def obstacle(self, device: torch.device) -> str | None:
        if device.type != "cuda" or not hasattr(torch.cuda, "CUDAGraph"):
            return "the model does not run on CUDA"
        version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
        return "PyTorch is older than 2.1" if version < (2, 1) else None

    def capture(self, work: Callable[[], torch.Tensor]) -> tuple[Graph, torch.Tensor]:
        rehearse(work)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        cached, stream = torch.is_autocast_cache_enabled(), torch.cuda.current_stream()
        # Casts that autocast has cached, or would cache here, lie in memory that is not the graph's for good.
        torch.set_autocast_cache_enabled(False)
        try:
            # Other threads, such as one that decodes a preview, may use the device meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                result = work()
        except BaseException:
            _recover(stream, self._pool)
            raise
        finally:
            torch.set_autocast_cache_enabled(cached)
        return graph, result

    def close(self) -> None:
        self._pool = None


def rehearse(work: Callable[[], object]) -> None:
    """Do the work once, to see that it never waits for the device: a capture would be spoilt by that.

    Raises:
        RuntimeError: it does.
    """
    mode = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
    # The mode's own notice, once a process, that it does not detect all synchronizing operations is not meant.
    if any("called a synchronizing" in str(one.message) for one in caught):
        raise RuntimeError("a pass waits for the device")


def _recover(stream: torch.cuda.Stream, pool: Any) -> None:
    """After a capture that was spoilt torch leaves its stream, its pool and the generator as while capturing."""
    torch.cuda.set_stream(stream)
    device = stream.device.index
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    generator = torch.cuda.default_generators[device]
    with contextlib.suppress(RuntimeError):
        if end is not None:
            end(device, pool)
    with contextlib.suppress(RuntimeError, AttributeError):  # torch 2.4 has them
        generator.graphsafe_set_state(generator.clone_state())


class Computation(Protocol):
    """A step's way to its prediction, as graphs need it."""

    @property
    def kind(self) -> str:
        """Which of the step's predictions this is."""

    @property
    def state(self) -> Any:
        """What it computes with beside its arguments; when this is no longer equal, no graph holds any more."""

    @property
    def stage(self) -> Any:
        """What of it lies in memory that graphs read; when this is no longer equal, a graph is compared before use."""

    @property
    def k(self) -> float:
        """Amplification, which graphs read from memory."""

    @property
    def arguments(self) -> Arguments:
        """Of the call."""

    def eager(self) -> tuple[torch.Tensor, str | None]:
        """The prediction, and what has been met on the way to it that a graph cannot hold."""

    def captured(self, tensors: tuple[torch.Tensor, ...], k: torch.Tensor) -> torch.Tensor:
        """The prediction from other tensors and with k as ``amplify`` takes it, while a graph is captured."""


@dataclass
class _Captured:
    """A graph, the memory that it works on, and the stage in which a replay was last compared."""

    graph: Graph
    inputs: tuple[torch.Tensor, ...]
    k: torch.Tensor
    output: torch.Tensor
    stage: Any = None

    def replay(self, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """The prediction, in memory that the next replay writes over."""
        for mine, given in zip(self.inputs, tensors):
            mine.copy_(given)
        self.graph.replay()
        return self.output

    def proves(self, step: Computation, expected: torch.Tensor) -> bool:
        """Whether a replay gives what was computed, and so will in the rest of the stage."""
        self.stage = None
        self.k.fill_(step.k)
        if not torch.equal(self.replay(step.arguments.tensors), expected):
            return False
        self.stage = step.stage
        return True


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
        if shape.captured is not None and shape.captured.stage == step.stage:
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

"""A step in a CUDA graph against a dense pass in one: what capturing takes, and what is left to gain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from crdiff.bench.random_model import StepInputs
from crdiff.bench.timing import Spread
from crdiff.guidance.capture import CudaBackend, Graph
from crdiff.guidance.graphs import Arguments


@dataclass(frozen=True)
class GraphCosts:
    """What a step in a graph takes.

    Attributes:
        dense_graph_ratio: time of a dense pass in a graph over that of one computed eagerly.
        step_over_dense_graph: time of a whole step in a graph over that of a dense pass in one.
        capture_seconds: for capturing a step, once a run.
        pool_bytes: memory that a step's graph holds until the run ends.
    """

    dense_graph_ratio: Spread
    step_over_dense_graph: Spread
    capture_seconds: float
    pool_bytes: int


class MeasuredBackend(CudaBackend):
    """Notes what the last capture took."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device
        self.seconds, self.bytes = 0.0, 0

    def capture(self, work: Callable[[], torch.Tensor]) -> tuple[Graph, torch.Tensor]:
        """See Backend."""
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        before, start = torch.cuda.memory_reserved(self._device), time.perf_counter()
        captured = super().capture(work)
        torch.cuda.synchronize(self._device)
        self.seconds = time.perf_counter() - start
        self.bytes = torch.cuda.memory_reserved(self._device) - before
        return captured


class DenseGraph:
    """A dense pass captured once."""

    def __init__(self, model: torch.nn.Module, inputs: StepInputs) -> None:
        self._inputs = [None if part is None else part.clone() for part in inputs]
        for _ in range(2):
            model(*self._inputs)
        self._graph, self._output = CudaBackend().capture(lambda: model(*self._inputs))

    def step(self, inputs: StepInputs) -> torch.Tensor:
        """The pass on other inputs."""
        for mine, given in zip(self._inputs, inputs):
            if mine is not None and given is not None:
                mine.copy_(given)
        self._graph.replay()
        return self._output.clone()


def arguments_of(model: torch.nn.Module, inputs: StepInputs) -> Arguments:
    """A model call taken apart, as a host's module does it."""
    tensors = tuple(part for part in inputs if part is not None)
    return Arguments(tensors, len(tensors), lambda others: model(*others))

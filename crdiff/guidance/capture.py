"""Capturing: work on a GPU that is launched at once, again and again, on the same memory."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any, Protocol

import torch


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

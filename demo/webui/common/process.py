"""A stand-in host in a process of its own, so that both hosts, and several configurations, can be used side by side.

``HostProcess.run(function, ...)`` runs a module-level function in that process, with the host as its first argument,
and gives its result back. The function's module must be importable there: the caller's ``sys.path`` is handed on.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from common.config import WEBUI_DIR

_host: Any = None
# Imported once for all hosts that a process starts: most of a start is these.
_HEAVY = ["torch", "scipy.integrate", "gradio"]


def _context() -> Any:
    if sys.platform != "linux":  # elsewhere a fork of a process that has loaded so much is not safe
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_HEAVY)
    return context


def _start(path: list[str], flavour: str, settings: dict[str, Any]) -> None:
    global _host
    sys.path[:] = [*dict.fromkeys([str(WEBUI_DIR), *path])]
    from common.start import start_host

    _host = start_host(flavour, **settings)


def _call(function: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
    return function(_host, *args, **kwargs)


class HostProcess:
    """Starts at once and lives until ``close``. Arguments and results are pickled, exceptions are raised here."""

    def __init__(self, flavour: str, **settings: Any) -> None:
        self.flavour = flavour
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=_context())
        # A pool's initializer would hide why the host did not start.
        self._pool.submit(_start, list(sys.path), flavour, settings).result()

    def run(self, function: Callable, *args: Any, **kwargs: Any) -> Any:
        return self._pool.submit(_call, function, args, kwargs).result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> HostProcess:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

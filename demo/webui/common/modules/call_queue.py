"""Running the page's jobs one after the other, and turning their exceptions into messages."""

from __future__ import annotations

import functools
import html
import time
from collections.abc import Callable
from typing import Any

import standin_flavour as flavour
from modules import devices, errors, fifo_lock, progress, shared

queue_lock = fifo_lock.FIFOLock()


def wrap_queued_call(func: Callable) -> Callable:
    def queued(*args: Any, **kwargs: Any) -> Any:
        with queue_lock:
            return func(*args, **kwargs)

    return queued


def wrap_gradio_gpu_call(func: Callable, extra_outputs: list | None = None) -> Callable:
    """A first argument of the form ``task(...)`` is the job's id, under which the page asks for progress."""

    @functools.wraps(func)
    def job(*args: Any, **kwargs: Any) -> Any:
        first = args[0] if args else None
        id_task = None
        if isinstance(first, str) and first.startswith("task(") and first.endswith(")"):
            id_task = first
            progress.add_task_to_queue(id_task)
        with queue_lock:
            shared.state.begin(job=id_task)
            progress.start_task(id_task)
            try:
                result = func(*args, **kwargs)
            finally:
                progress.finish_task(id_task)
            shared.state.end()
        return result

    return wrap_gradio_call(job, extra_outputs=extra_outputs, add_stats=True)


def wrap_gradio_call(func: Callable, extra_outputs: list | None = None, add_stats: bool = False) -> Callable:
    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        finally:
            state = shared.state
            state.skipped = state.interrupted = state.stopping_generation = False
            state.job_count = 0
            state.job = ""

    return wrap_gradio_call_no_job(call, extra_outputs, add_stats)


def wrap_gradio_call_no_job(func: Callable, extra_outputs: list | None = None, add_stats: bool = False) -> Callable:
    """The last output is HTML: it gets the error, or the time taken when ``add_stats`` is set."""

    @functools.wraps(func)
    def call(*args: Any, extra_outputs_array: list | None = extra_outputs, **kwargs: Any) -> tuple:
        started = time.perf_counter()
        try:
            result = flavour.result_of_job(func(*args, **kwargs))
        except Exception as e:
            errors.report(f"Error completing request\nArguments: {args} {kwargs}"[:131072], exc_info=True)
            outputs = [None, ""] if extra_outputs_array is None else list(extra_outputs_array)
            result = [*outputs, f"<div class='error'>{html.escape(f'{type(e).__name__}: {e}')}</div>"]
        devices.torch_gc()
        if add_stats:
            seconds = time.perf_counter() - started
            took = f"Time taken: <wbr><span class='measurement'>{seconds:.1f} sec.</span>"
            # The stamp, which is not shown, tells the answers of two equally long jobs apart.
            result[-1] += f"<div class='performance' data-at='{time.time_ns()}'><p class='time'>{took}</p></div>"
        return tuple(result)

    return call

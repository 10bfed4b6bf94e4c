"""One thread for all generation that the page asks for. API requests do not come through here.

Only an ``Exception`` of a task is caught: a ``BaseException`` that escapes it ends the loop.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

lock = threading.Lock()
last_id = 0
waiting_list: list[Task] = []
finished_list: list[Task] = []
last_exception: Exception | None = None


class Task:
    def __init__(self, task_id: int, func: Callable, args: tuple, kwargs: dict) -> None:
        self.task_id = task_id
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.exception: Exception | None = None

    def work(self) -> None:
        """A failure leaves no result; it stays in ``last_exception`` until a later task succeeds."""
        global last_exception
        try:
            self.result = self.func(*self.args, **self.kwargs)
            self.exception = None
            last_exception = None
        except Exception as e:
            traceback.print_exc()
            self.exception = e
            last_exception = e


def loop() -> None:
    while True:
        time.sleep(0.01)
        with lock:
            task = waiting_list.pop(0) if waiting_list else None
        if task is not None:
            task.work()
            with lock:
                finished_list.append(task)


def async_run(func: Callable, *args: Any, **kwargs: Any) -> int:
    global last_id
    with lock:
        last_id += 1
        waiting_list.append(Task(last_id, func, args, kwargs))
        return last_id


def run_and_wait_result(func: Callable, *args: Any, **kwargs: Any) -> Any:
    """Blocks until the loop has run the task. Called from the loop's own thread, it blocks for ever."""
    task_id = async_run(func, *args, **kwargs)
    while True:
        time.sleep(0.01)
        with lock:
            task = next((x for x in finished_list if x.task_id == task_id), None)
            if task is not None:
                finished_list.remove(task)
                return task.result

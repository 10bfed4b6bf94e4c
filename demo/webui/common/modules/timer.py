"""Start-up timing."""

from __future__ import annotations

import time


class Timer:
    def __init__(self, print_log: bool = False) -> None:
        self.start = time.perf_counter()
        self.last = self.start
        self.records: dict[str, float] = {}
        self.total = 0.0
        self.print_log = print_log

    def record(self, category: str, extra_time: float = 0.0) -> None:
        now = time.perf_counter()
        self.records[category] = self.records.get(category, 0.0) + now - self.last + extra_time
        self.last = now
        self.total = now - self.start

    def summary(self) -> str:
        parts = [f"{name}: {seconds:.1f}s" for name, seconds in self.records.items() if seconds >= 0.1]
        return f"{self.total:.1f}s" + (f" ({', '.join(parts)})" if parts else "")

    def dump(self) -> dict:
        return {"total": self.total, "records": self.records}

    def reset(self) -> None:
        self.__init__(self.print_log)


startup_timer = Timer()
startup_record = None

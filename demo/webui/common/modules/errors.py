"""Reporting of exceptions that the host survives."""

from __future__ import annotations

import sys
import textwrap
import traceback

exception_records: list[dict] = []
_KEPT = 5


def record_exception() -> None:
    """Keeps the exception being handled, if any, among the last few."""
    _kind, error, tb = sys.exc_info()
    if error is None:
        return
    frames = [[f"{x.filename}, line {x.lineno}, {x.name}", x.line] for x in traceback.extract_tb(tb)]
    exception_records.append({"exception": str(error), "traceback": frames})
    del exception_records[:-_KEPT]


def get_exceptions() -> list[dict]:
    return list(reversed(exception_records))


def report(message: str, *, exc_info: bool = False) -> None:
    """Prints a message to stderr, every line marked with ``***``, with the traceback on demand."""
    record_exception()
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), file=sys.stderr)
        print("---", file=sys.stderr)


def display(e: BaseException, task: str | None, *, full_traceback: bool = False) -> None:
    record_exception()
    print(f"{task or 'error'}: {type(e).__name__}", file=sys.stderr)
    print("".join(traceback.format_exception(type(e), e, e.__traceback__)), file=sys.stderr)


_displayed: set[str] = set()


def display_once(e: BaseException, task: str) -> None:
    if task not in _displayed:
        _displayed.add(task)
        display(e, task)


def print_error_explanation(message: str) -> None:
    record_exception()
    rule = "=" * max(len(line) for line in message.strip().split("\n"))
    print(rule, message.strip(), rule, sep="\n", file=sys.stderr)

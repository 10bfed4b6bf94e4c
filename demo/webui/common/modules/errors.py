"""Reporting of exceptions that the host survives."""

from __future__ import annotations

import sys
import textwrap
import traceback


def report(message: str, *, exc_info: bool = False) -> None:
    """Prints a message to stderr, every line marked with ``***``, with the traceback on demand."""
    for line in message.splitlines():
        print("***", line, file=sys.stderr)
    if exc_info:
        print(textwrap.indent(traceback.format_exc(), "    "), file=sys.stderr)
        print("---", file=sys.stderr)


def display(e: BaseException, task: str | None, *, full_traceback: bool = False) -> None:
    print(f"{task or 'error'}: {type(e).__name__}", file=sys.stderr)
    print("".join(traceback.format_exception(type(e), e, e.__traceback__)), file=sys.stderr)

"""Standard output of the command lines, whatever the console's or the file's encoding can hold."""

from __future__ import annotations

import io
import sys


def allow_any_text() -> None:
    """Let stdout write characters that its encoding lacks as escapes, as stderr does, instead of raising.

    A console or a redirected file on Windows has a code page such as cp1252 or cp932, which has no place for every
    file name.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")

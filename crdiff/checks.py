"""Checks of values that come from outside: an API body, a file, the page. Each refuses with one sentence."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeGuard

from crdiff.errors import SettingsError

_LONGEST = 60
"""Characters of a refused value that are shown."""


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is an int or a float that is no bool; NaN and the infinities count."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_integer(value: object) -> TypeGuard[int]:
    """Whether a value is an int that is no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def shown(value: object) -> str:
    """``value`` as a message quotes it: its repr, cut to 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to write out an integer of thousands of digits
        text = "an integer of thousands of digits"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def exact(number: float) -> str:
    """The shortest text that is read back as this very number."""
    return repr(float(number) + 0.0).removesuffix(".0")


def number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> float:
    """A finite number from ``low`` to ``high`` as a float; an open end is excluded.

    Raises:
        SettingsError: naming ``name``, what it may be and the value.
    """
    bounded_below, bounded_above = math.isfinite(low), math.isfinite(high)
    if bounded_below and bounded_above:
        span = f"in {'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        if is_number(value) and not _within(value, low, high, low_open, high_open):
            raise SettingsError(f"{name} must lie {span}, not {shown(value)}.")
    elif bounded_below:
        span = f"{'above' if low_open else 'of at least'} {low:g}"
    elif bounded_above:
        span = f"{'below' if high_open else 'of at most'} {high:g}"
    else:
        span = ""
    if not is_number(value) or not _within(value, low, high, low_open, high_open):
        kind = f"a number {span}" if span else "a finite number"
        raise SettingsError(f"{name} must be {kind}, not {shown(value)}.")
    return float(value) + 0.0  # -0.0 becomes 0.0, which means the same


def _within(value: float, low: float, high: float, low_open: bool, high_open: bool) -> bool:
    try:
        finite = math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False
    return finite and (low < value if low_open else low <= value) and (value < high if high_open else value <= high)


def integer(name: str, value: object, low: int, high: int | None = None) -> int:
    """An integer from ``low`` to ``high``, both included.

    Raises:
        SettingsError: naming ``name``, what it may be and the value.
    """
    if not is_integer(value) or value < low or (high is not None and value > high):
        span = f"of at least {low}" if high is None else f"in [{low}, {high}]"
        raise SettingsError(f"{name} must be an integer {span}, not {shown(value)}.")
    return value


def choice(name: str, value: object, choices: Iterable[str]) -> str:
    """One of ``choices``.

    Raises:
        SettingsError: naming ``name``, the choices and the value.
    """
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        raise SettingsError(f"{name} must be one of {', '.join(choices)}, not {shown(value)}.")
    return value


def flag(name: str, value: object) -> bool:
    """A bool.

    Raises:
        SettingsError: naming ``name`` and the value.
    """
    if not isinstance(value, bool):
        raise SettingsError(f"{name} must be true or false, not {shown(value)}.")
    return value

"""Reading what a job is asked for, from the page or the API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from crdiff.checks import shown
from crdiff.errors import SettingsError

T = TypeVar("T")


def from_dict(cls: type[T], kind: str, values: Any) -> T:
    """A request of a JSON object in which every key is optional.

    Args:
        cls: the request's dataclass.
        kind: what the job is called.
        values: the object.

    Raises:
        SettingsError: it is none, or has a key that is not known.
    """
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    if not isinstance(values, Mapping):
        raise SettingsError(f"A {kind} must be an object with keys such as {known[1]}, not {shown(values)}.")
    for key in values:
        if key not in known:
            raise SettingsError(f"A {kind} has no key {shown(key)}; known are {', '.join(known)}.")
    return cls(**values)


def from_text(cls: type[T], kind: str, text: str | None) -> T:
    """A request of a JSON text; an empty one is all defaults.

    Raises:
        SettingsError: it is not JSON, or see ``from_dict``.
    """
    try:
        return from_dict(cls, kind, json.loads(text) if text and text.strip() else {})
    except ValueError as error:
        if isinstance(error, SettingsError):
            raise
        raise SettingsError(f"The {kind}'s settings are not JSON ({error}).") from None

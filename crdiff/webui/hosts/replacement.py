"""A callable that stands in an attribute's place for a while, among others that do the same."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

Original = Callable[..., Any]


def _pass_on(original: Original, *args: Any, **kwargs: Any) -> Any:
    return original(*args, **kwargs)


class Replacement:
    """Stands in for a method of a class or an instance until it is retired; then it only passes on.

    Another extension may wrap it and put it back after it was retired. It stays then, so as not to cut them off, and
    the next replacement steps over it, so that idle ones do not add up.

    Args:
        owner: the class or instance.
        name: the method.
        call: what to do instead; gets the original, then the call's arguments.
    """

    def __init__(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self._owner, self._name, self._call = owner, name, call
        self._previous: Original | None = owner.__dict__.get(name)
        while isinstance(self._previous, Replacement) and self._previous._call is _pass_on:
            self._previous = self._previous._previous
        setattr(owner, name, self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind as a function does, for a replacement that stands in a class."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        original = self._previous if self._previous is not None else self._inherited()
        return self._call(original, *args, **kwargs)

    def _inherited(self) -> Original:
        owner = self._owner
        if isinstance(owner, type):
            return getattr(super(owner, owner), self._name)
        return getattr(type(owner), self._name).__get__(owner)

    def retire(self) -> None:
        """Put back what was there, unless somebody has wrapped this meanwhile."""
        self._call = _pass_on
        if self._owner.__dict__.get(self._name) is not self:
            return
        if self._previous is None:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._previous)

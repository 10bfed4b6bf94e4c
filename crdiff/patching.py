"""A method run through a function of ours for a while, among other extensions that do the same."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

Original = Callable[..., Any]


class Patch:
    """Stands in for a method of a class or an instance until it is removed; then it is dormant and only calls through.

    Another extension may wrap a patch and put it back after its removal. It stays then, so as not to cut them off, and
    the next patch of the same method steps over it, so that dormant ones do not pile up.

    Args:
        owner: the class or instance, such as a module; another extension's override stays in force inside this one.
        name: the method.
        call: called instead; gets the original, then the call's arguments.
    """

    def __init__(self, owner: Any, name: str, call: Callable[..., Any]) -> None:
        self._owner, self._name = owner, name
        self._call: Callable[..., Any] | None = call
        self._previous: Original | None = owner.__dict__.get(name)
        self._step_over_dormant()
        setattr(owner, name, self)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind as a function does, for a patch that stands in a class."""
        return self if instance is None else MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        original = self._previous
        if original is None:
            original = self._inherited()
        return original(*args, **kwargs) if self._call is None else self._call(original, *args, **kwargs)

    def _inherited(self) -> Original:
        # Looked up at each call, because hosts patch classes at run time (LoRA, manual cast).
        owner = self._owner
        found: Original = (
            getattr(super(owner, owner), self._name)
            if isinstance(owner, type)
            else getattr(type(owner), self._name).__get__(owner)
        )
        return found

    def _step_over_dormant(self) -> None:
        # One that somebody has moved to another name still looks its original up by its own.
        while isinstance(before := self._previous, Patch) and before._call is None and before._name == self._name:
            self._previous = before._previous

    @property
    def alone(self) -> bool:
        """Whether no override of anybody else is in force inside this one."""
        return self._previous is None or (isinstance(self._previous, Patch) and self._previous.alone)

    def remove(self) -> None:
        """Put back what was there, unless somebody has wrapped this meanwhile."""
        self._call = None
        if self._owner.__dict__.get(self._name) is not self:
            return
        self._step_over_dormant()
        if self._previous is None:
            delattr(self._owner, self._name)
        else:
            setattr(self._owner, self._name, self._previous)


def is_patched_by_others(module: Any) -> bool:
    """Whether another extension sees or replaces calls of this very ``torch.nn.Module``, by its forward or by hooks.

    ControlNet's reference modes replace the inner ``_forward`` of transformer blocks.
    """
    own = (module.__dict__.get(name) for name in ("forward", "_forward"))
    foreign = any(forward is not None and not isinstance(forward, Patch) for forward in own)
    return foreign or bool(module._forward_hooks) or bool(module._forward_pre_hooks)

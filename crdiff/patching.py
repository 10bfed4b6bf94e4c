"""A module's forward, run through a function of ours for a while, among others that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Forward = Callable[..., Any]
Run = Callable[[Forward, "tuple[Any, ...]", "dict[str, Any]"], Any]
"""Gets the forward as it was, and the call's arguments."""


class ForwardOverride:
    """Stands in for a module's forward until it is removed; then it is dormant and only calls through.

    Args:
        module: the module; another extension's override of it stays in force inside this one.
        run: called instead of the module's forward.
    """

    def __init__(self, module: torch.nn.Module, run: Run) -> None:
        self._module = module
        self._run: Run | None = run
        self._previous: Forward | None = module.__dict__.get("forward")
        while isinstance(self._previous, ForwardOverride) and self._previous._run is None:
            # One of ours that was wrapped when it was removed, and that the wrapper has put back.
            self._previous = self._previous._previous
        module.forward = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # The class's forward is looked up at the call, because hosts patch it at run time (LoRA, manual cast).
        own = self._previous
        if own is None:
            own = type(self._module).forward.__get__(self._module)
        return own(*args, **kwargs) if self._run is None else self._run(own, args, kwargs)

    def remove(self) -> None:
        """Put back what was there. Wrapped by somebody meanwhile it stays, dormant, so as not to cut them off."""
        self._run = None
        if self._module.__dict__.get("forward") is not self:
            return
        if self._previous is None:
            del self._module.__dict__["forward"]
        else:
            self._module.forward = self._previous


def is_overridden_by_others(module: torch.nn.Module) -> bool:
    """Whether another extension sees or replaces calls of this very module, by its forward or by hooks.

    ControlNet's reference modes replace the inner ``_forward`` of transformer blocks.
    """
    own = (module.__dict__.get(name) for name in ("forward", "_forward"))
    foreign = any(forward is not None and not isinstance(forward, ForwardOverride) for forward in own)
    return foreign or bool(module._forward_hooks) or bool(module._forward_pre_hooks)

"""Calls that both passes of a step make alike, computed once: recorded in the first pass, replayed in the second.

A call is replayed only if its inputs are bit for bit those of the first pass, and only if it did nothing but compute:
drew no random numbers, ran no patch of another extension. So the second pass gets what it would have computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import torch

from crdiff.guidance.arguments import Arguments, Kept, is_plain, version_of
from crdiff.models.architecture import Architecture
from crdiff.patching import Original, Patch


class _Mode(Enum):
    OFF = "off"
    RECORD = "record"
    REPLAY = "replay"
    REPLAY_LAST = "replay for the last time"


@dataclass(frozen=True)
class _Call:
    """A call of the first pass: its arguments, its result, and what it set in the dicts it was given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any
    entries: tuple[dict[Any, Any], ...]


@dataclass
class _Unit:
    """A module whose calls are shared."""

    calls: list[_Call | None] = field(default_factory=list)
    next: int = 0


@dataclass(frozen=True)
class _Product:
    """A projection's call of the first pass."""

    input: Kept
    result: torch.Tensor
    version: int | None


@dataclass
class _Projection:
    """A Linear whose calls are shared: it draws nothing, and its result is rarely written to."""

    calls: list[_Product | None] = field(default_factory=list)
    next: int = 0


class SharedCalls:
    """The shared calls of one UNet, from ``install`` to ``remove``.

    Args:
        unet: the UNet.
        architecture: knows what of it both passes have in common.
        drawn: whether random numbers have been drawn since it was last asked.
    """

    def __init__(self, unet: torch.nn.Module, architecture: Architecture, drawn: Callable[[], bool]) -> None:
        self._unet = unet
        self._architecture = architecture
        self._drawn = drawn
        self._pruned: frozenset[str] | None = None
        self._patches: list[Patch] = []
        self._units: list[_Unit | _Projection] = []
        self._companions: dict[int, tuple[torch.nn.Module, _Unit]] = {}
        self._mode = _Mode.OFF
        self._watching_draws = False
        self.arguments = Arguments()
        """Of the step's calls."""
        self.replayed = 0
        """How many calls have been taken over so far."""

    def install(self, pruned: frozenset[str]) -> None:
        """Share what runs alike while the layers and blocks ``pruned`` differ, unless it does already."""
        if self._pruned == pruned:
            return
        self.remove()
        prefix = self._architecture.shared_prefix(self._unet, pruned)
        projections = self._architecture.shared_projections(self._unet, prefix)
        for module in prefix:
            unit = _Unit()
            self._units.append(unit)
            self._patches.append(Patch(module, "forward", partial(self._patched, unit)))
        for module in projections:
            projection = _Projection()
            self._units.append(projection)
            self._patches.append(Patch(module, "forward", partial(self._project, projection)))
        self._pruned = pruned

    def remove(self) -> None:
        """Take the patches away and forget every call."""
        for patch in reversed(self._patches):
            patch.remove()
        self._patches, self._units, self._pruned = [], [], None
        self._companions = {}
        self._forget()

    def companion(
        self, module: torch.nn.Module, forward: Original, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """A call of a module beside the UNet that every pass makes, such as a ControlNet."""
        if self._mode is _Mode.OFF:
            return forward(*args, **kwargs)
        if id(module) not in self._companions:
            unit = _Unit()
            self._units.append(unit)
            self._companions[id(module)] = (module, unit)
        return self._call(self._companions[id(module)][1], forward, args, kwargs)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """The first pass of a step."""
        self._forget()
        self.arguments.begin()
        with self._in_mode(_Mode.RECORD):
            yield

    @contextmanager
    def replaying(self, *, last: bool = True) -> Iterator[None]:
        """A further pass of the step; after the last one what was recorded is gone."""
        for unit in self._units:
            unit.next = 0
        try:
            with self._in_mode(_Mode.REPLAY_LAST if last else _Mode.REPLAY):
                yield
        finally:
            if last:
                self._forget()

    @contextmanager
    def _in_mode(self, mode: _Mode) -> Iterator[None]:
        self._mode = mode
        try:
            yield
        finally:
            self._mode = _Mode.OFF

    def _forget(self) -> None:
        for unit in self._units:
            unit.calls = []
        self.arguments.forget()

    @property
    def has_companions(self) -> bool:
        """Whether modules beside the UNet have run in a pass."""
        return bool(self._companions)

    def drew(self) -> None:
        """The first pass has drawn random numbers, so from now on each call is watched for it."""
        if not self._watching_draws:
            self._watching_draws = True
            for unit in self._units:
                if isinstance(unit, _Unit):
                    unit.calls = []

    def _patched(self, unit: _Unit, forward: Original, *args: Any, **kwargs: Any) -> Any:
        return self._call(unit, forward, args, kwargs)

    def _call(self, unit: _Unit, forward: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._mode is _Mode.OFF:
            return forward(*args, **kwargs)
        if self._mode is _Mode.RECORD:
            return self._record(unit, forward, args, kwargs)
        # The n-th call of a later pass stands for the n-th of the first.
        call = unit.calls[unit.next] if unit.next < len(unit.calls) else None
        unit.next += 1
        if call is None or not self.arguments.equal((call.args, call.kwargs), (args, kwargs)):
            return forward(*args, **kwargs)
        self.replayed += 1
        for given, entries in zip(_dicts((args, kwargs)), call.entries):
            given.update(entries)
        # What is handed out may be changed in place, by ControlNet's residuals for instance.
        return call.result if self._mode is _Mode.REPLAY_LAST else _cloned(call.result)

    def _project(self, unit: _Projection, forward: Original, *args: Any, **kwargs: Any) -> Any:
        if self._mode is _Mode.OFF or kwargs or len(args) != 1:
            return forward(*args, **kwargs)
        x = args[0]
        if self._mode is _Mode.RECORD:
            kept = self.arguments.copy(x)
            result = forward(x)
            product = None
            if isinstance(kept, Kept) and isinstance(result, torch.Tensor):
                known = version_of(result)
                product = _Product(kept, result.clone() if known is None else result, known)
            unit.calls.append(product)
            return result
        call = unit.calls[unit.next] if unit.next < len(unit.calls) else None
        unit.next += 1
        if call is None or version_of(call.result) != call.version or not self.arguments.equal(call.input, x):
            return forward(x)
        self.replayed += 1
        return call.result

    def _record(self, unit: _Unit, forward: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = len(unit.calls)
        unit.calls.append(None)
        if not is_plain((args, kwargs)):
            return forward(*args, **kwargs)
        kept_args, kept_kwargs = self.arguments.copy(args), self.arguments.copy(kwargs)
        before = [dict(given) for given in _dicts((args, kwargs))]
        if self._watching_draws:
            self._drawn()
        result = forward(*args, **kwargs)
        if _cloneable(result) and not (self._watching_draws and self._drawn()):
            changes = zip(_dicts((args, kwargs)), before)
            entries = tuple(
                {key: value for key, value in given.items() if key not in old or old[key] is not value}
                for given, old in changes
            )
            unit.calls[place] = _Call(kept_args, kept_kwargs, _cloned(result), entries)
        return result


def _cloneable(result: Any) -> bool:
    """Whether a result is a tensor, or a list or tuple of such results."""
    if type(result) in (tuple, list):
        return all(map(_cloneable, result))
    return isinstance(result, torch.Tensor)


def _cloned(result: Any) -> Any:
    return result.clone() if isinstance(result, torch.Tensor) else type(result)(map(_cloned, result))


def _dicts(value: Any) -> Iterator[dict[Any, Any]]:
    """The dicts among a call's arguments, in order."""
    args, kwargs = value
    yield from (part for part in (*args, *kwargs.values()) if isinstance(part, dict))

"""Calls that both passes of a step make alike, computed once: recorded in the first pass, replayed in the second.

A call is replayed only if its inputs are bit for bit those of the first pass, and only if it did nothing but compute:
drew no random numbers, ran no patch of another extension. So the second pass gets what it would have computed.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

import torch

from crdiff.models.architecture import Architecture
from crdiff.patching import Original, Patch

# In Forge's transformer_options: patches that act between the blocks, never inside one.
_OUTSIDE = frozenset(
    ("block_modifiers", "input_block_patch", "input_block_patch_after_skip", "output_block_patch", "group_norm_wrapper")
)
_PLAIN = (type(None), bool, int, float, str, Enum, torch.dtype, torch.device)


class _Mode(Enum):
    OFF = "off"
    RECORD = "record"
    REPLAY = "replay"
    REPLAY_LAST = "replay for the last time"


@dataclass(frozen=True, eq=False)
class _Kept:
    """A tensor argument as it was; a copy of a part of a tensor has strides of its own."""

    copy: torch.Tensor
    stride: tuple[int, ...]
    source: weakref.ref[torch.Tensor]
    version: int | None

    def of(self, tensor: torch.Tensor) -> bool:
        """Whether it was made of this very tensor, unchanged since; False where nobody can tell."""
        return self.version is not None and self.source() is tensor and _version(tensor) == self.version


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

    input: _Kept
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
        self._copies: dict[int, _Kept] = {}
        self._equal_pairs: dict[tuple[int, int, int | None], torch.Tensor] = {}
        self._watching_draws = False
        self._unlike: torch.Tensor | None = None
        self._trusting = False
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
                unlike = self._unlike
                self._forget()
                self._unlike = unlike

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
        self._copies, self._equal_pairs = {}, {}
        self._unlike = None

    @property
    def has_companions(self) -> bool:
        """Whether modules beside the UNet have run in a pass."""
        return bool(self._companions)

    @contextmanager
    def trusting(self) -> Iterator[None]:
        """Within the block equal places mean equal inputs: passes are captured that were compared when computed."""
        self._trusting = True
        try:
            yield
        finally:
            self._trusting = False

    def drew(self) -> None:
        """The first pass has drawn random numbers, so from now on each call is watched for it."""
        if not self._watching_draws:
            self._watching_draws = True
            for unit in self._units:
                if isinstance(unit, _Unit):
                    unit.calls = []

    def mistaken(self) -> bool:
        """Whether a call was taken over in the last pass whose inputs turn out to differ; then it must be run anew.

        Comparing on a device would wait for it, so what is compared there is known at the end of the pass.
        """
        unlike, self._unlike = self._unlike, None
        return unlike is not None and bool(unlike)

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
        if call is None or not self._equal((call.args, call.kwargs), (args, kwargs)):
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
            kept = self._copy(x)
            result = forward(x)
            product = None
            if isinstance(kept, _Kept) and isinstance(result, torch.Tensor):
                known = _version(result)
                product = _Product(kept, result.clone() if known is None else result, known)
            unit.calls.append(product)
            return result
        call = unit.calls[unit.next] if unit.next < len(unit.calls) else None
        unit.next += 1
        if call is None or _version(call.result) != call.version or not self._equal(call.input, x):
            return forward(x)
        self.replayed += 1
        return call.result

    def _record(self, unit: _Unit, forward: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        place = len(unit.calls)
        unit.calls.append(None)
        if not _is_plain((args, kwargs)):
            return forward(*args, **kwargs)
        kept_args, kept_kwargs = self._copy(args), self._copy(kwargs)
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

    def _copy(self, value: Any) -> Any:
        """Arguments as they are now; a tensor given to many modules, such as the context, is copied once."""
        if isinstance(value, torch.Tensor):
            known = self._copies.get(id(value))
            now = _version(value)
            if known is None or known.source() is not value or known.version != now:
                known = _Kept(value.clone(), value.stride(), weakref.ref(value), now)
                self._copies[id(value)] = known
            return known
        if isinstance(value, dict):
            return {key: self._copy(part) for key, part in value.items() if key not in _OUTSIDE}
        if type(value) in (tuple, list):
            return type(value)(self._copy(part) for part in value)
        return value

    def _equal(self, kept: Any, given: Any) -> bool:
        if isinstance(kept, _Kept):
            return isinstance(given, torch.Tensor) and self._equal_tensors(kept, given)
        if isinstance(kept, dict):
            if not isinstance(given, dict):
                return False
            given = {key: part for key, part in given.items() if key not in _OUTSIDE}
            return kept.keys() == given.keys() and all(self._equal(part, given[key]) for key, part in kept.items())
        if type(kept) in (tuple, list):
            return type(kept) is type(given) and len(kept) == len(given) and all(map(self._equal, kept, given))
        return bool(type(kept) is type(given) and kept == given)

    def _equal_tensors(self, kept: _Kept, given: torch.Tensor) -> bool:
        pair = (id(kept), id(given), _version(given))
        if pair in self._equal_pairs:
            return True
        # Strides count too: with others, a kernel may round otherwise.
        copy = kept.copy
        if copy.dtype != given.dtype or copy.device != given.device or kept.stride != given.stride():
            return False
        if copy.shape != given.shape or not (kept.of(given) or self._equal_bits(copy, given)):
            return False
        self._equal_pairs[pair] = given
        return True

    def _equal_bits(self, copy: torch.Tensor, given: torch.Tensor) -> bool:
        if self._trusting:
            return True
        if given.device.type == "cpu":
            return torch.equal(copy, given)
        differs = (copy != given).any()
        self._unlike = differs if self._unlike is None else self._unlike.to(differs.device) | differs
        return True


def _version(tensor: torch.Tensor) -> int | None:
    """Counts changes in place, where torch does: not in tensors made in inference mode."""
    return None if tensor.is_inference() else tensor._version


def _is_plain(value: Any) -> bool:
    """Whether these arguments are data only. A function among them may do anything."""
    if isinstance(value, dict):
        return all(key in _OUTSIDE or _is_plain(part) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, (torch.Tensor, *_PLAIN))


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

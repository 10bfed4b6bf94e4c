"""Arguments of calls as they were, and whether those of a later call are bit for bit the same."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch

# In Forge's transformer_options: patches that act between the blocks, never inside one.
_OUTSIDE = frozenset(
    ("block_modifiers", "input_block_patch", "input_block_patch_after_skip", "output_block_patch", "group_norm_wrapper")
)
_PLAIN = (type(None), bool, int, float, str, Enum, torch.dtype, torch.device)


@dataclass(frozen=True, eq=False)
class Kept:
    """A tensor argument as it was; a copy of a part of a tensor has strides of its own."""

    copy: torch.Tensor
    stride: tuple[int, ...]
    source: weakref.ref[torch.Tensor]
    version: int | None

    def of(self, tensor: torch.Tensor) -> bool:
        """Whether it was made of this very tensor, unchanged since; False where nobody can tell."""
        return self.version is not None and self.source() is tensor and version_of(tensor) == self.version


class Arguments:
    """Those of one step's calls: each tensor is copied and compared once."""

    def __init__(self) -> None:
        self._copies: dict[int, Kept] = {}
        self._equal_pairs: dict[tuple[int, int, int | None], torch.Tensor] = {}
        self._unlike: torch.Tensor | None = None
        self._trusting = False

    def begin(self) -> None:
        """A new step."""
        self.forget()
        self._unlike = None

    def forget(self) -> None:
        """What was kept; not whether a comparison was mistaken, for which the step still has to ask."""
        self._copies, self._equal_pairs = {}, {}

    @contextmanager
    def trusting(self) -> Iterator[None]:
        """Within the block equal places mean equal inputs: passes are captured that were compared when computed."""
        self._trusting = True
        try:
            yield
        finally:
            self._trusting = False

    def mistaken(self) -> bool:
        """Whether arguments of the last pass were taken for equal that turn out to differ; then it must be run anew.

        Comparing on a device would wait for it, so what is compared there is known at the end of the pass.
        """
        unlike, self._unlike = self._unlike, None
        return unlike is not None and bool(unlike)

    def copy(self, value: Any) -> Any:
        """Arguments as they are now; a tensor given to many modules, such as the context, is copied once."""
        if isinstance(value, torch.Tensor):
            known = self._copies.get(id(value))
            now = version_of(value)
            if known is None or known.source() is not value or known.version != now:
                known = Kept(value.clone(), value.stride(), weakref.ref(value), now)
                self._copies[id(value)] = known
            return known
        if isinstance(value, dict):
            return {key: self.copy(part) for key, part in value.items() if key not in _OUTSIDE}
        if type(value) in (tuple, list):
            return type(value)(self.copy(part) for part in value)
        return value

    def equal(self, kept: Any, given: Any) -> bool:
        """Whether these are what was kept; of tensors on a device that is only known once ``mistaken`` says."""
        if isinstance(kept, Kept):
            return isinstance(given, torch.Tensor) and self._equal_tensors(kept, given)
        if isinstance(kept, dict):
            if not isinstance(given, dict):
                return False
            given = {key: part for key, part in given.items() if key not in _OUTSIDE}
            return kept.keys() == given.keys() and all(self.equal(part, given[key]) for key, part in kept.items())
        if type(kept) in (tuple, list):
            return type(kept) is type(given) and len(kept) == len(given) and all(map(self.equal, kept, given))
        return bool(type(kept) is type(given) and kept == given)

    def _equal_tensors(self, kept: Kept, given: torch.Tensor) -> bool:
        pair = (id(kept), id(given), version_of(given))
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


def version_of(tensor: torch.Tensor) -> int | None:
    """Counts changes in place, where torch does: not in tensors made in inference mode."""
    return None if tensor.is_inference() else tensor._version


def is_plain(value: Any) -> bool:
    """Whether these arguments are data only. A function among them may do anything."""
    if isinstance(value, dict):
        return all(key in _OUTSIDE or is_plain(part) for key, part in value.items())
    if isinstance(value, (tuple, list)):
        return all(map(is_plain, value))
    return isinstance(value, (torch.Tensor, *_PLAIN))

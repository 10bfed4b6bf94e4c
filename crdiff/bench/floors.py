"""The least that two passes can cost, by arithmetic: what does not depend on a pruned layer is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._pytree import tree_flatten

from crdiff.bench.operations import OperationCounter
from crdiff.bench.random_model import Published, build_model, make_steps
from crdiff.models.architecture import find_layers
from crdiff.models.scope import Scope
from crdiff.presets.size import Size


@dataclass(frozen=True)
class Arithmetic:
    """The operations of one pass of a model (2 for a multiplication and addition), all rows included.

    Attributes:
        operations: by the groups on whose prunable weights their result depends.
    """

    operations: Mapping[frozenset[str], int]

    @property
    def total(self) -> int:
        """Of the pass."""
        return sum(self.operations.values())

    def floor(self, pruned: Sequence[str]) -> float:
        """The cost of both passes in dense passes when only these groups are pruned; at least one."""
        again = sum(number for groups, number in self.operations.items() if groups.intersection(pruned))
        return 1.0 + again / self.total


class _DependencyCounter(OperationCounter):  # type: ignore[no-untyped-call]
    """Counts operations by what they depend on; tensors are told apart as long as they are held here."""

    def __init__(self, weights: Mapping[str, Sequence[torch.Tensor]]) -> None:
        super().__init__()
        self.operations: dict[frozenset[str], int] = {}
        self._held: list[torch.Tensor] = []
        self._groups: dict[int, frozenset[str]] = {}
        for group, some in weights.items():
            self._depend(some, frozenset((group,)))

    def _depend(self, tensors: Sequence[Any], groups: frozenset[str]) -> None:
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                self._held.append(tensor)
                self._groups[id(tensor)] = groups

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        before = self.total
        result = super().__torch_dispatch__(func, types, args, kwargs)
        groups = frozenset[str]().union(*(self._groups.get(id(part), ()) for part in tree_flatten((args, kwargs))[0]))
        self._depend(tree_flatten(result)[0], groups)
        self.operations[groups] = self.operations.get(groups, 0) + self.total - before
        return result


def count_operations(published: Published, size: Size, scope: Scope = Scope()) -> Arithmetic:  # noqa: B008 (frozen)
    """Count a pass without computing it."""
    meta = torch.device("meta")
    model = build_model(published, meta, torch.float32)
    (inputs,) = make_steps(published, size, 1, meta, torch.float32)
    weights: dict[str, list[torch.Tensor]] = {}
    for layer in find_layers(model, scope).layers:
        weights.setdefault(layer.group, []).append(layer.module.get_parameter("weight"))
    counter = _DependencyCounter(weights)
    with torch.no_grad(), counter:
        model(*inputs)
    return Arithmetic(counter.operations)

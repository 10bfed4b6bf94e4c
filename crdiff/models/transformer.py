"""Diffusion transformers: models of one or two stacks of equal blocks, told apart by the names of their layers.

Pruned are Linears of the image stream, or of the one stream there is. The text stream, modulation, embedders, refiners
and final layers are not. The groups are thirds of the blocks; of a model with two stacks, the first stack and the
halves of the second.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from crdiff.method.groups import GROUPS
from crdiff.models.family import Family
from crdiff.models.role import Region, Role
from crdiff.models.scope import ATTENTION, FEED_FORWARD, RELEASED
from crdiff.patching import is_patched_by_others

if TYPE_CHECKING:
    import torch

# Anchored at the transformer, so that a text encoder or a ControlNet in the same file does not count.
_PREFIX = r"^(?P<prefix>model\.diffusion_model\.|diffusion_model\.|transformer\.|)"


@dataclass(frozen=True)
class Stack:
    """Blocks of one kind; names of Linears are those inside a block.

    Attributes:
        name: of the blocks' list.
        feed_forward: Linears of the feed-forward.
        attention: Linears of the attention.
        fused: Linears that hold both, with the feed-forward's region.
        released: those of all these that the authors' code prunes; None for the feed-forward.
        ends: those whose output a branch adds to the block's input.
        one_stream: whether a block makes a tensor of a tensor.
    """

    name: str
    feed_forward: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    fused: Mapping[str, Region] = field(default_factory=dict)
    released: tuple[str, ...] | None = None
    ends: tuple[str, ...] = ()
    one_stream: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """All Linears that may be pruned."""
        return (*self.feed_forward, *self.attention, *self.fused)

    def since(self, part: str) -> str:
        """The smallest set of layers that holds a Linear."""
        if part in (self.feed_forward if self.released is None else self.released):
            return RELEASED
        return ATTENTION if part in self.attention else FEED_FORWARD


@dataclass(frozen=True)
class Transformer:
    """See Architecture.

    Attributes:
        families: of it; the first, unless ``widths`` says another.
        stacks: one or two, in the order they run in.
        before: the modules that run before the first block, in their order; those that a model lacks are skipped.
        marks: a model of this kind has all of these modules, beside a layer of each stack.
        foreign: and none of these.
        widths: families by the width of the first layer.
    """

    families: tuple[Family, ...]
    stacks: tuple[Stack, ...]
    before: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    widths: Mapping[int, Family] = field(default_factory=dict)

    def roles(self, names: Iterable[str]) -> dict[str, Role]:
        names = list(names)
        if not self._describes(names):
            return {}
        found = [
            (name, place, match) for place in range(len(self.stacks)) for name, match in self._matches(names, place)
        ]
        lengths = {
            place: 1 + max(int(match["index"]) for _, at, match in found if at == place) for _, place, _ in found
        }
        return {name: self._role(place, match, lengths[place]) for name, place, match in found}

    def _describes(self, names: list[str]) -> bool:
        """Whether the model with modules of these names is of this kind."""
        prefixes = [{match["prefix"] for _, match in self._matches(names, place)} for place in range(len(self.stacks))]
        there = set(names)

        def has(prefix: str, mark: str) -> bool:
            return any(name == prefix + mark or name.startswith(f"{prefix}{mark}.") for name in there)

        return any(
            all(has(prefix, mark) for mark in self.marks) and not any(has(prefix, mark) for mark in self.foreign)
            for prefix in set.intersection(*prefixes)
        )

    def _matches(self, names: Iterable[str], place: int) -> list[tuple[str, re.Match[str]]]:
        stack = self.stacks[place]
        parts = "|".join(map(re.escape, stack.parts))
        layer = re.compile(rf"{_PREFIX}(?P<block>{re.escape(stack.name)}\.(?P<index>\d+))\.(?P<part>{parts})$")
        return [(name, match) for name in names if (match := layer.match(name)) is not None]

    def _role(self, place: int, match: re.Match[str], length: int) -> Role:
        stack, part, index = self.stacks[place], match["part"], int(match["index"])
        if len(self.stacks) == 1:
            group = GROUPS[3 * index // length]
        else:
            group = GROUPS[0] if place == 0 else GROUPS[1 + 2 * index // length]
        return Role(
            group,
            match["prefix"] + match["block"],
            part,
            ends_branch=part in stack.ends,
            since=stack.since(part),
            region=stack.fused.get(part),
            one_stream=stack.one_stream,
        )

    def family(self, shapes: Mapping[str, tuple[int, ...]]) -> Family:
        width = next((shape[-1] for shape in shapes.values()), 0)
        return self.widths.get(width, self.families[0])

    def shared_prefix(self, model: torch.nn.Module, pruned: Collection[str]) -> tuple[torch.nn.Module, ...]:
        """What comes before the blocks, and the blocks before the first one that is pruned."""
        found = [module for name in self.before if (module := getattr(model, name, None)) is not None]
        for stack in self.stacks:
            for name, block in getattr(model, stack.name).named_children():
                path = f"{stack.name}.{name}"
                if any(other == path or other.startswith(f"{path}.") for other in pruned):
                    return tuple(filter(_unpatched, found))
                found.append(block)
        return tuple(filter(_unpatched, found))

    def shared_projections(
        self, model: torch.nn.Module, prefix: Collection[torch.nn.Module]
    ) -> tuple[torch.nn.Module, ...]:
        """None: from the first block on, the text has seen the image."""
        return ()


def _unpatched(module: torch.nn.Module) -> bool:
    return not any(is_patched_by_others(part) for part in module.modules())

"""Copies of pruned weights, kept from step to step while there is memory for them.

Where ratios change over the steps a copy stays where it is, and its layer's next use, or ``refresh``, writes over it:
whatever reads that memory, such as a captured graph, reads the weights of the stage that is under way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum

import torch

from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import LinearCall, Pruning
from crdiff.pruning.plain import version

_MARGIN = 3 * 2**29
"""1.5 GiB."""

_PEAK = 1.25
"""Of the largest memory seen in use beyond what is in use now."""


class CopyPolicy(Enum):
    """How many pruned weights are kept as copies.

    ``AUTO`` keeps copies of as many pruned layers as free memory allows, ``NEVER`` computes them on each use through
    one reused buffer, ``ALWAYS`` keeps all of them.
    """

    AUTO = "auto"
    NEVER = "never"
    ALWAYS = "always"


def copy_budget(device: torch.device, policy: CopyPolicy) -> int:
    """Bytes that pruned copies on ``device`` may take now."""
    if policy is CopyPolicy.NEVER:
        return 0
    if policy is CopyPolicy.ALWAYS:
        return 2**62
    free = free_bytes(device)
    return 0 if free is None else max(0, free - margin(device))


def free_bytes(device: torch.device) -> int | None:
    """Free memory, with what torch's allocator holds unused; None where nobody can tell."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + int(torch.cuda.memory_reserved(device)) - int(torch.cuda.memory_allocated(device))
    if device.type == "cpu":
        try:
            import psutil
        except ImportError:
            return None
        return int(psutil.virtual_memory().available)
    return None


def margin(device: torch.device) -> int:
    """Bytes to leave for whatever else the host does during a run."""
    if device.type != "cuda":
        return _MARGIN
    # The peak is read, never reset: hosts report it to the user.
    beyond = torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    return max(_MARGIN, int(_PEAK * beyond))


@dataclass
class _Copy:
    """A pruned weight, which live weight it was made of, and by what; by nothing while it is being written."""

    pruned: torch.Tensor
    pointer: int
    version: int
    by: Pruning | None

    def of(self, weight: torch.Tensor) -> bool:
        """Whether it was made of this weight, as it is now."""
        return self.pointer == weight.data_ptr() and self.version == version(weight)

    def get(self) -> torch.Tensor:
        """The pruned weight."""
        return self.pruned


class WeightCopies(Pruning):
    """Hands out what ``pruning`` makes of each weight; of the largest layers it keeps a copy for the next pass.

    Only of weights that the layer multiplies by as they are stored: a weight that the host moves, casts, dequantises
    or merges on each use is not the same tensor again, so it is pruned on each use.

    Args:
        pruning: what prunes.
        changed: the layers and blocks that it changes, by name.
        layers: the layers that may be asked for.
        policy: how many copies to keep.
    """

    def __init__(
        self,
        pruning: Pruning,
        changed: Collection[str],
        layers: Sequence[Layer],
        policy: CopyPolicy = CopyPolicy.AUTO,
    ) -> None:
        self._pruning = pruning
        self.changed = frozenset(changed)
        self.moves = 0
        """Counts copies that were made or freed; while it stays, all of them are where they were."""
        self._layers = [layer for layer in layers if pruning.wants(layer)]
        self._policy = policy
        self._chosen: frozenset[str] | None = None
        self._passes = 0
        self._copies: dict[str, _Copy] = {}

    def wants(self, layer: Layer) -> bool:
        return self._pruning.wants(layer)

    def factor(self, layer: Layer) -> float | None:
        return self._pruning.factor(layer)

    def residual(self, block: str) -> float:
        return self._pruning.residual(block)

    def weight(self, call: LinearCall) -> torch.Tensor:
        weight = call.weight
        if torch.is_grad_enabled() and weight.requires_grad:
            return self._pruning.weight(call)
        copy = self._copy_of(call)
        if copy is not None:
            return copy.pruned
        pruned = self._pruning.weight(call)
        if self._keeps(call):
            # What prunes may hand out a buffer of its own that it uses again. A copy made in inference mode could not
            # be written to outside of it.
            with torch.inference_mode(False):
                kept = torch.empty_like(pruned)
            pruned = kept.copy_(pruned)
            self._copies[call.layer.name] = _Copy(pruned, weight.data_ptr(), version(weight), self._pruning)
            self._moved()
        return pruned

    def ready(self, call: LinearCall) -> Callable[[], torch.Tensor] | None:
        copy = self._copy_of(call)
        if copy is not None:
            return copy.get
        kept = self._chosen is None or call.layer.name in self._chosen
        return super().ready(call) if kept else self._pruning.ready(call)

    def follow(self, pruning: Pruning) -> None:
        """From now on ``pruning`` prunes, which changes the same layers and blocks."""
        if pruning is not self._pruning:
            self._pruning = pruning
            self.changes += 1

    def refresh(self) -> bool:
        """Write over all copies that are not what ``weight`` would make now, before a pass that does not ask for them.

        Returns:
            Whether all that a pass changes lies in copies, each of the weight that its layer stores.
        """
        if not self.complete:
            return False
        for layer in self._layers:
            stored = layer.module.weight
            if not isinstance(stored, torch.Tensor) or self._copy_of(LinearCall(layer, stored.detach())) is None:
                return False
        return True

    @property
    def complete(self) -> bool:
        """Whether all that a pass changes lies in the copies."""
        return len(self._copies) == len(self.changed)

    def next_pass(self) -> None:
        """A pass begins. On a GPU copies are made from the second one on, when the host's peak of memory is known."""
        self._passes += 1

    @property
    def copied_bytes(self) -> int:
        """Memory that the copies take."""
        return sum(copy.pruned.numel() * copy.pruned.element_size() for copy in self._copies.values())

    def drop(self) -> bool:
        """Free all copies and make no more; whether there were any."""
        had = bool(self._copies)
        self._copies, self._chosen = {}, frozenset()
        self._moved()
        return had

    def _moved(self) -> None:
        self.moves += 1
        self.changes += 1

    def _copy_of(self, call: LinearCall) -> _Copy | None:
        """The copy of this weight, if there is one, written over if it is not what ``weight`` would make now."""
        copy = self._copies.get(call.layer.name)
        if copy is None or not copy.of(call.weight):
            return None
        if copy.by is not self._pruning:
            copy.by = None
            self._pruning.write(call, copy.pruned)
            copy.by = self._pruning
        return copy

    def _keeps(self, call: LinearCall) -> bool:
        stored, weight = call.layer.module.weight, call.weight
        if not isinstance(stored, torch.Tensor) or weight.data_ptr() != stored.data_ptr():
            return False
        if self._passes < 2 and weight.device.type != "cpu":
            return False
        if weight.dtype != stored.dtype or weight.element_size() == 1:
            return False
        if self._chosen is None:
            self._chosen = self._choose(weight)
            self.changes += 1
        return call.layer.name in self._chosen

    def _choose(self, weight: torch.Tensor) -> frozenset[str]:
        """The largest layers that fit into the budget together."""
        left = copy_budget(weight.device, self._policy)
        chosen = []
        for layer in sorted(self._layers, key=lambda layer: -layer.features[0] * layer.features[1]):
            need = layer.features[0] * layer.features[1] * weight.element_size()
            if need <= left:
                chosen.append(layer.name)
                left -= need
        return frozenset(chosen)

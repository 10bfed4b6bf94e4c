"""LayerDrop: whole transformer blocks are skipped, those that change their input least (Diff-ES, 2026)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.architecture import Layer
from crdiff.models.family import Family
from crdiff.models.unet import SD15, SD21, SDXL
from crdiff.pruning.calibrations import needed
from crdiff.pruning.criterion import GroupSparsity, LinearCall, Observer, Pruning, check_complete
from crdiff.pruning.store import Store, WeightsState

NAME = "layerdrop"

_SMALL = {"down": (6, 0.17), "mid": (1, 0.006), "up": (9, 0.25)}
_BLOCKS = {SD15: _SMALL, SD21: _SMALL, SDXL: {"down": (24, 0.255), "mid": (10, 0.1), "up": (36, 0.38)}}
"""Of each group, how many transformer blocks there are and their part of a pass, by FLOPs. SDXL's hardly depends on the
size; SD1.x's is 0.15 to 0.21 down and 0.23 to 0.32 up from 256x256 to 768x768."""


def _count(blocks: int, ratio: float) -> int:
    """How many blocks a ratio means; what a ratio such as 2 / 3 lacks by rounding does not cost a block."""
    return int(blocks * ratio + 1e-6)


def saves(family: Family, ratios: Ratios) -> float:
    """The part of a UNet pass that these ratios save, about; 0 for families whose blocks are not known."""
    known = _BLOCKS.get(family, {})
    return sum(part * _count(blocks, ratios[group]) / blocks for group, (blocks, part) in known.items())


class LayerDropPruning(Pruning):
    """Skips blocks."""

    def __init__(self, dropped: Collection[str]) -> None:
        self._dropped = dropped

    def residual(self, block: str) -> float:
        return 0.0 if block in self._dropped else 1.0


@dataclass(frozen=True)
class _Block:
    """A transformer block: its group, and how many weights that may be pruned it has."""

    group: str
    weights: int


class LayerDropCriterion:
    """See Criterion. The ratio is the share of a group's blocks; where it comes to less than one, none is skipped.

    Raises:
        MissingCalibrationError: the weights are not calibrated.
    """

    def __init__(self, state: WeightsState, store: Store) -> None:
        statistics = needed(NAME, state, store)
        self._state, self._store = state, store
        self._changes, self.basis = statistics.blocks, statistics.id

    def observer(self, ratios: Ratios) -> Observer | None:
        return None if self._known() is not None else _Counting(self)

    def pruning(self, ratios: Ratios) -> Pruning | None:
        dropped = self._dropped(ratios)
        return LayerDropPruning(dropped) if dropped else None

    def sparsity(self, ratios: Ratios) -> Mapping[str, GroupSparsity]:
        blocks, dropped = self._blocks(), self._dropped(ratios)

        def weights(group: str, names: Collection[str]) -> int:
            return sum(blocks[name].weights for name in names if blocks[name].group == group)

        return {group: GroupSparsity(weights(group, blocks), weights(group, dropped)) for group in GROUPS}

    def learn(self, blocks: Mapping[str, _Block]) -> None:
        """Keep what blocks there are, for this criterion and for the next one of the same weights.

        Raises:
            UnsupportedModelError: the calibration does not know one of them.
        """
        unknown = [name for name in blocks if name not in self._changes]
        if unknown:
            raise UnsupportedModelError(
                f"The calibration does not know the model's block {unknown[0]}: calibrate it anew."
            )
        self._store.put(NAME, self._state, dict(blocks))

    def _known(self) -> Mapping[str, _Block] | None:
        found: Mapping[str, _Block] | None = self._store.known(NAME, self._state)
        return found

    def _blocks(self) -> Mapping[str, _Block]:
        blocks = self._known()
        assert blocks is not None, "the model has not been looked at yet"
        return blocks

    def _dropped(self, ratios: Ratios) -> frozenset[str]:
        blocks = self._blocks()
        dropped: list[str] = []
        for group in GROUPS:
            names = sorted(
                (name for name, block in blocks.items() if block.group == group),
                key=lambda name: (self._changes[name], name),
            )
            dropped += names[: _count(len(names), ratios[group])]
        return frozenset(dropped)


class _Counting:
    """Counts the weights of each block."""

    calls = 1

    def __init__(self, criterion: LayerDropCriterion) -> None:
        self._criterion = criterion
        self._layers: dict[str, tuple[str, str, int]] = {}

    def wants(self, layer: Layer) -> bool:
        return layer.name not in self._layers

    def see(self, call: LinearCall) -> None:
        layer = call.layer
        self._layers[layer.name] = (layer.block, layer.group, call.weight.numel())

    def finish(self, layers: int) -> None:
        check_complete(len(self._layers), layers)
        blocks: dict[str, _Block] = {}
        if any(not block for block, _, _ in self._layers.values()):
            raise UnsupportedModelError(
                f"The criterion {NAME} cannot skip this model's blocks: they work on the text and the image at once."
            )
        for block, group, weights in self._layers.values():
            known = blocks.get(block)
            blocks[block] = _Block(group, weights + (0 if known is None else known.weights))
        self._criterion.learn(blocks)

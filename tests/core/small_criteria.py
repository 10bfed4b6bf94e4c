"""Two criteria of kinds that magnitude is not: one skips blocks, one watches inputs."""

from __future__ import annotations

import torch

from crdiff.pruning.criterion import Pruning, check_complete


class LayerDrop:
    """Whole transformer blocks are skipped, here all of the up group."""

    basis = ""

    def __init__(self, state, store) -> None:
        pass

    def observer(self, ratios):
        return None

    def pruning(self, ratios):
        return _Dropped()

    def sparsity(self, ratios):
        return {}


class _Dropped(Pruning):
    def residual(self, block):
        return 0.0 if block.startswith("output_blocks.") else 1.0


class QuietColumns:
    """Leaves out the columns whose inputs were smallest over two steps, as Wanda's scores need to know them."""

    basis = ""

    def __init__(self, state, store) -> None:
        self.norms: dict[str, torch.Tensor] = {}

    def observer(self, ratios):
        return None if self.norms else _Watching(self)

    def pruning(self, ratios):
        return _Columns(self.norms, ratios)

    def sparsity(self, ratios):
        return {}


class _Watching:
    calls = 2

    def __init__(self, criterion: QuietColumns) -> None:
        self.criterion, self.squares = criterion, {}

    def wants(self, layer):
        return True

    def see(self, call):
        square = call.input.float().square().flatten(0, -2).sum(0)
        self.squares[call.layer.name] = self.squares.get(call.layer.name, 0.0) + square

    def finish(self, layers):
        check_complete(len(self.squares), layers)
        self.criterion.norms = {name: square.sqrt() for name, square in self.squares.items()}


class _Columns(Pruning):
    def __init__(self, norms, ratios) -> None:
        self.norms, self.ratios = norms, ratios

    def wants(self, layer):
        return True

    def weight(self, call):
        return without_quiet_columns(call.weight, self.norms[call.layer.name], self.ratios[call.layer.group])


def without_quiet_columns(weight: torch.Tensor, norms: torch.Tensor, ratio: float) -> torch.Tensor:
    quiet = norms.argsort()[: int(len(norms) * ratio)]
    changed = weight.clone()
    changed[:, quiet] = 0.0
    return changed

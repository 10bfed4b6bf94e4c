"""What a calibration gathers while a model draws: sums over the inputs of its layers, in float32 on their device."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from crdiff.calibration.gradients import Gradients
from crdiff.models.architecture import Layer
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.hessian import Matrices, Matrix, damped, exact_products, inverse
from crdiff.pruning.statistics import Columns, LayerStatistics, Statistics

_TINY = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class _Seen:
    """What one input adds to the sums: 0-dimensional int64 counts, (in,) and (in, in) float32.

    The products are those of a Hessian, in which tokens have weights; ``mass`` is the sum of these.
    """

    tokens: torch.Tensor
    skipped: torch.Tensor
    squares: torch.Tensor
    products: torch.Tensor | None
    mass: torch.Tensor

    def hessian(self) -> torch.Tensor:
        """(in, in): twice the weighted mean of x x^T."""
        assert self.products is not None, "no Hessian was gathered"
        return self.products * (2.0 / self.mass.clamp_min(_TINY))


@dataclass(frozen=True)
class _Changes:
    """How much a block has changed its input, summed over the images; 0-dimensional."""

    sum: torch.Tensor
    images: torch.Tensor


@dataclass(frozen=True)
class _Last:
    """The input seen last, what it adds, and the sum that some layer has come to with it."""

    input: torch.Tensor
    new: _Seen
    known: _Seen | None
    sum: _Seen


@dataclass
class Gathering:
    """The sums of one model with one state of its weights; see Watcher.

    Layers that always see one input, such as queries, keys and values, have one sum. See crdiff.calibration.memory for
    what the sums take.

    Attributes:
        hessians: the groups whose layers' Hessians are gathered too.
        weight: of the tokens of the pass under way in the Hessians.
        gradients: of its weights, if they are wanted.
    """

    hessians: Collection[str] = ()
    weight: float = 1.0
    gradients: Gradients = field(default_factory=Gradients)
    _layers: dict[str, _Seen] = field(default_factory=dict)
    _blocks: dict[str, _Changes] = field(default_factory=dict)
    _last: _Last | None = None

    def wants(self, layer: Layer) -> bool:
        return True

    def see(self, call: LinearCall) -> None:
        """Add an input, (..., in); a token with a value that is not finite is skipped and counted."""
        assert call.input is not None, "a file shows no inputs"
        name, hessian = call.layer.name, call.layer.group in self.hessians
        known, last = self._layers.get(name), self._last
        if last is None or last.input is not call.input or hessian != (last.new.products is not None):
            new = _sums(call.input, self.weight if hessian else None)
            last = _Last(call.input, new, known, _added(known, new))
        elif last.known is not known:
            last = _Last(call.input, last.new, known, _added(known, last.new))
        self._last, self._layers[name] = last, last.sum

    def see_block(self, name: str, x: torch.Tensor, result: torch.Tensor) -> None:
        """Add a transformer block's input and output, both (images, ...)."""
        new, known = _changes(x, result), self._blocks.get(name)
        self._blocks[name] = new if known is None else _Changes(known.sum + new.sum, known.images + new.images)

    def end_pass(self) -> None:
        """A denoiser call is over: its activations need not be kept any longer."""
        self._last = None

    def statistics(self, made: Mapping[str, str]) -> Statistics:
        """What has been gathered so far. A Hessian that cannot be inverted is left out.

        Args:
            made: see Statistics.
        """
        finished = {id(seen): _finished(seen) for seen in self._distinct()}
        layers = {name: finished[id(seen)] for name, seen in self._layers.items()}
        seen = {name: (float(changes.sum), int(changes.images)) for name, changes in self._blocks.items()}
        blocks = {name: changes / images for name, (changes, images) in seen.items() if images}
        return Statistics(layers, blocks, dict(made))

    def whole(self) -> Matrices:
        """The Hessians that have been gathered so far, which stay on their device."""
        return _Gathered({name: seen for name, seen in self._layers.items() if seen.products is not None})

    def _distinct(self) -> list[_Seen]:
        return list({id(seen): seen for seen in self._layers.values()}.values())


class _Gathered:
    """See Matrices."""

    def __init__(self, layers: Mapping[str, _Seen]) -> None:
        first = {id(seen): name for name, seen in reversed(list(layers.items()))}
        self._layers = layers
        self.keys = {name: first[id(seen)] for name, seen in layers.items()}

    def get(self, key: str) -> Matrix:
        found: Matrix = self._layers[key].hessian().cpu().numpy()
        return found


@torch.no_grad()
def _sums(x: torch.Tensor, weight: float | None) -> _Seen:
    """Of an input; ``weight`` is that of its tokens in the Hessian, None if none is gathered."""
    rows = x.detach().flatten(0, -2).float()
    finite = rows.square().sum(-1).isfinite()
    rows = torch.where(finite[:, None], rows, 0.0)
    tokens, products = finite.sum(), None
    if weight is not None:
        with exact_products(rows.device):
            products = (rows.T @ rows).mul_(weight)
    return _Seen(tokens, (~finite).sum(), rows.square().sum(0), products, tokens * (weight or 0.0))


@torch.no_grad()
def _changes(x: torch.Tensor, result: torch.Tensor) -> _Changes:
    before, after = x.flatten(1).float(), result.flatten(1).float()
    change = 1.0 - torch.nn.functional.cosine_similarity(before, after, dim=1)
    finite = change.isfinite()
    return _Changes(torch.where(finite, change, 0.0).sum(), finite.sum())


def _added(known: _Seen | None, new: _Seen) -> _Seen:
    if known is None:
        return new
    products = None
    if known.products is not None and new.products is not None:
        products = known.products + new.products
    return _Seen(
        known.tokens + new.tokens,
        known.skipped + new.skipped,
        known.squares + new.squares,
        products,
        known.mass + new.mass,
    )


def _finished(seen: _Seen) -> LayerStatistics:
    found = None if seen.products is None else inverse(damped(seen.hessian()))
    squares: Columns = seen.squares.cpu().numpy()
    diagonal: Columns | None = None if found is None else found.diagonal().cpu().numpy().copy()
    return LayerStatistics(int(seen.tokens), squares, int(seen.skipped), diagonal)

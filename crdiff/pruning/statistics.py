"""What a calibration knows of a model: the size of its layers' inputs, and how much its blocks change theirs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from crdiff.pruning.hessian import Matrices
from crdiff.pruning.store import Record

Columns = npt.NDArray[np.float32]
"""One number for each input of a layer."""

_HEADER = ("layers", "blocks", "made")
_GRADIENTS = "gradients digest"


@dataclass(frozen=True)
class LayerStatistics:
    """Of the inputs of one Linear, over every token of every image that was watched.

    Attributes:
        tokens: how many were counted.
        squares: (in,), the sum of the squares of each input.
        skipped: tokens that were left out because they held values that are not finite.
        inverse: (in,), the diagonal of the inverse of the damped Hessian; None if no Hessian was gathered, or if it
            could not be inverted.
    """

    tokens: int
    squares: Columns
    skipped: int = 0
    inverse: Columns | None = None

    @property
    def norms(self) -> Columns:
        """(in,), the root mean square of each input: its norm over the tokens, whatever their number."""
        found: Columns = np.sqrt(self.squares / np.float32(max(self.tokens, 1)))
        return found


@dataclass(frozen=True)
class Statistics:
    """A calibration of a model.

    Attributes:
        layers: by name.
        blocks: of each transformer block, by name, how much it changes its input: 1 - cos(input, output), the mean
            over the images.
        made: how it was made, such as the size, the number of images and the sampler, in words for users and reports.
        hessians: the whole ones, which are stored apart; None if they were not kept.
        gradients: of each layer's weight, of a denoising loss, all times one number, which are stored apart; None if
            they were not kept.
        gradients_digest: by which the id tells gradients from others; empty without any.
    """

    layers: Mapping[str, LayerStatistics]
    blocks: Mapping[str, float]
    made: Mapping[str, str] = field(default_factory=dict)
    hessians: Matrices | None = field(default=None, compare=False)
    gradients: Matrices | None = field(default=None, compare=False)
    gradients_digest: str = ""

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that tell it from any other."""
        return self.to_record().digest[:8]

    @property
    def tokens(self) -> int:
        """The fewest tokens that a layer was watched with."""
        return min((layer.tokens for layer in self.layers.values()), default=0)

    @property
    def skipped(self) -> int:
        """Tokens left out, in all layers together."""
        return sum(layer.skipped for layer in self.layers.values())

    @property
    def uninverted(self) -> tuple[str, ...]:
        """Names of the layers without a Hessian."""
        return tuple(name for name, layer in self.layers.items() if layer.inverse is None)

    def basis(self, without: int) -> str:
        """What a criterion that needs Hessians goes by, for the infotext, if ``without`` layers have none."""
        some = f"{without} layer{'s' if without > 1 else ''} without a Hessian"
        return f"{self.id} ({some} by magnitude)" if without else self.id

    def with_hessians_of(self, other: Statistics) -> Statistics:
        """These statistics, with what ``other`` knows of Hessians beside them."""
        inverses = {name: layer.inverse for name, layer in other.layers.items() if layer.inverse is not None}
        layers = {
            name: replace(layer, inverse=inverses.get(name, layer.inverse)) for name, layer in self.layers.items()
        }
        return replace(self, layers=layers)

    def with_gradients(self, gradients: Matrices) -> Statistics:
        """These statistics, with gradients beside them."""
        digest = hashlib.sha256()
        for name, key in sorted(gradients.keys.items()):
            if (matrix := gradients.get(key)) is not None:
                digest.update(f"{name}{matrix.shape}".encode())
                digest.update(matrix.tobytes())
        return replace(self, gradients=gradients, gradients_digest=digest.hexdigest())

    def to_record(self) -> Record:
        """The statistics as they are stored."""
        counts = {name: [layer.tokens, layer.skipped] for name, layer in self.layers.items()}
        header = {"layers": json.dumps(counts), "blocks": json.dumps(self.blocks), "made": json.dumps(self.made)}
        header |= {_GRADIENTS: self.gradients_digest} if self.gradients_digest else {}
        arrays = {f"{name}.squares": layer.squares for name, layer in self.layers.items()}
        for name, layer in self.layers.items():
            if layer.inverse is not None:
                arrays[f"{name}.inverse"] = layer.inverse
        return Record(header, arrays)

    @classmethod
    def from_record(cls, record: Record) -> Statistics:
        """The statistics of a record.

        Raises:
            KeyError, ValueError, TypeError: the record is not one of statistics.
        """
        counts, blocks, made = (json.loads(record.header[name]) for name in _HEADER)
        layers = {
            name: LayerStatistics(
                int(tokens), record.arrays[f"{name}.squares"], int(skipped), record.arrays.get(f"{name}.inverse")
            )
            for name, (tokens, skipped) in counts.items()
        }
        changes = {name: float(change) for name, change in blocks.items()}
        return cls(layers, changes, made, gradients_digest=record.header.get(_GRADIENTS, ""))

"""What all comparisons of this WebUI share for as long as it runs."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from crdiff.presets.library import PresetLibrary
from crdiff.webui.checkpoints import CheckpointReader
from crdiff.webui.compare.comparison import Comparison
from crdiff.webui.search.judge import ScorerCache

_KEPT = 4
_KEPT_PIXELS = 200_000_000
"""Of all kept images together, 600 MB in memory; the last comparison is kept whatever its size."""


class Kept:
    """The last comparisons, which pages show and take their images from."""

    def __init__(self) -> None:
        self._comparisons: OrderedDict[str, Comparison] = OrderedDict()

    def add(self, comparison: Comparison) -> str:
        """Keep a comparison, by a key that nobody can guess."""
        key = secrets.token_hex(16)
        self._comparisons[key] = comparison
        while len(self._comparisons) > 1 and (len(self._comparisons) > _KEPT or self._pixels > _KEPT_PIXELS):
            self._comparisons.popitem(last=False)
        return key

    @property
    def _pixels(self) -> int:
        return sum(comparison.pixels for comparison in self._comparisons.values())

    def get(self, key: str) -> Comparison | None:
        """The comparison of a key; None if it is no longer kept."""
        return self._comparisons.get(key)


@dataclass(frozen=True)
class CompareContext:
    """The surroundings of a comparison.

    Attributes:
        folder: CR-Diff's folder in the host's data path.
        library: the presets.
        checkpoints: tells of the selected checkpoint.
        path: where the host serves the images, below its own address.
        kept: the last comparisons.
        scorers: where the loaded scorer of an earlier job may be.
    """

    folder: Path
    library: PresetLibrary
    checkpoints: CheckpointReader
    path: str = "crdiff/v1/compare"
    kept: Kept = field(default_factory=Kept)
    scorers: ScorerCache = field(default_factory=ScorerCache)

"""What a calibration has to keep for the criteria that go by it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crdiff.calibration.hessians import DIAGONALS, NO_HESSIANS, WHOLE
from crdiff.pruning.registry import CRITERIA, Needs


@dataclass(frozen=True)
class Kept:
    """Beside the sums over the inputs, which every calibration has.

    Attributes:
        hessians: one of ``HESSIANS``.
        gradients: whether there are any.
    """

    hessians: str = NO_HESSIANS
    gradients: bool = False

    @classmethod
    def for_criteria(cls, names: Collection[str]) -> Kept:
        """As little as serves all of them.

        Args:
            names: of criteria; some may need no calibration.
        """
        needs = {CRITERIA[name].needs for name in names}
        hessians = DIAGONALS if Needs.HESSIANS in needs else NO_HESSIANS
        return cls(WHOLE if Needs.WHOLE_HESSIANS in needs else hessians, Needs.GRADIENTS in needs)

    @property
    def text(self) -> str:
        """Such as ``a calibration with whole Hessians and gradients``."""
        hessians = {NO_HESSIANS: "", DIAGONALS: "Hessians", WHOLE: "whole Hessians"}[self.hessians]
        parts = [part for part in (hessians, "gradients" if self.gradients else "") if part]
        return " with ".join(["a calibration", *([" and ".join(parts)] if parts else [])])

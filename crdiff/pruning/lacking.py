"""What a criterion still has to be told of a checkpoint before it can decide."""

from __future__ import annotations

from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.registry import CRITERIA, Needs


def lacking(criterion: str, checkpoint: str, calibrations: Calibrations | None) -> str:
    """What a criterion lacks with a checkpoint, as a sentence for the user; empty if nothing.

    With LoRAs, or in another precision, it may turn out to lack more when the weights are known.

    Args:
        criterion: a name in ``CRITERIA``.
        checkpoint: ``Checkpoint.key``.
        calibrations: where they are kept.
    """
    needs = CRITERIA[criterion].needs
    if needs is Needs.NOTHING:
        return ""
    known = [] if calibrations is None else [stored.statistics for stored in calibrations.of_checkpoint(checkpoint)]
    if needs is Needs.HESSIANS:
        known = [statistics for statistics in known if len(statistics.uninverted) < len(statistics.layers)]
    return "" if known else f"the criterion {criterion} needs {needs.value} of this checkpoint first."

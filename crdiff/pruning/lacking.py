"""What a criterion still has to be told of a checkpoint before it can decide."""

from __future__ import annotations

from crdiff.pruning.calibrations import Calibrations
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.pruning.statistics import Statistics


def lacking(criterion: str, checkpoint: str, calibrations: Calibrations | None) -> str:
    """What a criterion lacks with a checkpoint, as a sentence for the user; empty if nothing.

    With LoRAs, or in another precision, it may turn out to lack more when the weights are known.

    Args:
        criterion: a name in ``CRITERIA``.
        checkpoint: ``Checkpoint.key``.
        calibrations: where they are kept.
    """
    needs = CRITERIA[criterion].needs
    stored = () if calibrations is None else calibrations.in_force(checkpoint)
    if meets(None, needs) or any(meets(one.statistics, needs) for one in stored):
        return ""
    return f"the criterion {criterion} needs {needs.value} of this checkpoint first."


def newest(criterion: str, checkpoint: str | None, calibrations: Calibrations) -> str:
    """The id of the calibration of a checkpoint that a criterion goes by; empty if it needs or finds none.

    Args:
        criterion: a name in ``CRITERIA``.
        checkpoint: ``Checkpoint.key``; None is an unknown one.
        calibrations: where they are kept.
    """
    needs = CRITERIA[criterion].needs
    if needs is Needs.NOTHING or checkpoint is None:
        return ""
    stored = (one.statistics for one in calibrations.in_force(checkpoint) if meets(one.statistics, needs))
    return next((one.id for one in stored), "")


def meets(known: Statistics | None, needs: Needs) -> bool:
    """Whether a calibration is what a criterion needs; None stands for none at all."""
    if needs is Needs.NOTHING:
        return True
    if known is None:
        return False
    if needs is Needs.WHOLE_HESSIANS:
        return known.hessians is not None
    if needs is Needs.GRADIENTS:
        return known.gradients is not None
    return needs is not Needs.HESSIANS or len(known.uninverted) < len(known.layers)

"""The calibrations that criteria go by: found, or made before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from crdiff.calibration.kept import Kept
from crdiff.errors import SettingsError
from crdiff.evaluation.engine import Engine
from crdiff.evaluation.errors import EvaluationError
from crdiff.evaluation.images import Plan
from crdiff.settings import Settings


def calibrated(plan: Plan, engine: Engine, *, make: bool, should_stop: Callable[[], bool]) -> Plan | None:
    """The plan, in which each way knows the calibration that it goes by.

    Args:
        plan: without calibrations.
        engine: draws, and calibrates.
        make: whether one is made where some criterion lacks it.
        should_stop: asked while it is made.

    Returns:
        None if it was stopped; nothing is kept then.

    Raises:
        CRDiffError: one is missing and is not to be made, or cannot be.
    """
    drawn = [drawing.settings for ways in plan.drawings.values() for drawing in ways if drawing.settings.enabled]
    lacking = _lacking(drawn, engine)
    if lacking:
        name, kept = engine.checkpoint.name, Kept.for_criteria({one.criterion for one in drawn})
        need = f"{' and '.join(lacking)} need{'s' if len(lacking) == 1 else ''} {Kept.for_criteria(lacking).text}"
        if not make:
            raise SettingsError(f"{need} of {name}: --calibrate makes it before anything is drawn.")
        print(f"{need} of {name}, which is made first.", flush=True)
        # Of the weights at hand the latest counts alone, so that it has to serve all criteria.
        if not engine.calibrate(kept, should_stop):
            return None
        if lacking := _lacking(drawn, engine):
            raise EvaluationError(f"{name} was calibrated, and {' and '.join(lacking)} cannot go by it.")
    drawings = {
        size: [replace(one, calibration=engine.calibration(one.settings) or "") for one in ways]
        for size, ways in plan.drawings.items()
    }
    return replace(plan, drawings=drawings)


def _lacking(drawn: list[Settings], engine: Engine) -> list[str]:
    """The criteria whose calibration is missing."""
    return list(dict.fromkeys(one.criterion for one in drawn if engine.calibration(one) is None))

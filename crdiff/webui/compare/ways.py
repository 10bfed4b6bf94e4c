"""The ways of drawing one image that a comparison holds against one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from crdiff.method.schedule import Schedule
from crdiff.settings import Settings

DENSE, PRUNED, CRDIFF = "dense", "pruned", "crdiff"


@dataclass(frozen=True)
class Way:
    """A way of drawing.

    Attributes:
        label: its name for users.
        help: what is drawn, as a phrase.
        settings: CR-Diff's settings for it, from the accordion's.
    """

    label: str
    help: str
    settings: Callable[[Settings], Settings]


def _dense(present: Settings) -> Settings:
    return Settings()


def _crdiff(present: Settings) -> Settings:
    return present if present.enabled else Settings(enabled=True, criterion=present.criterion)


def _pruned(present: Settings) -> Settings:
    wanted = _crdiff(present)
    return replace(wanted, k=1.0, stages=_at_k_1(wanted.stages), hires_ratios=_at_k_1(wanted.hires_ratios))


def _at_k_1(schedule: str) -> str:
    """A schedule in text with k = 1 in the stages that have a k of their own."""
    if not schedule:
        return ""
    stages = Schedule.parse(schedule).stages
    return str(Schedule(tuple(stage if stage.k is None else replace(stage, k=1.0) for stage in stages)))


WAYS: Mapping[str, Way] = {
    DENSE: Way("dense", "the model as it is", _dense),
    PRUNED: Way("pruned (k = 1)", "what the accordion prunes, with k = 1", _pruned),
    CRDIFF: Way("CR-Diff", "as the accordion is set; by Auto with its criterion where it is off", _crdiff),
}
"""By the name that the API takes, in the order in which they are shown."""

USUAL = (DENSE, PRUNED, CRDIFF)

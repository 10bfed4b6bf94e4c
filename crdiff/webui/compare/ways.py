"""The ways of drawing one image that a comparison holds against one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from crdiff.method import attention_scale
from crdiff.method.schedule import Schedule
from crdiff.settings import Settings
from crdiff.specs import CUSTOM, NATIVE

DENSE, PRUNED, CRDIFF = "dense", "pruned", "crdiff"
ATTENUATION = 0.1
"""The ratio of the criterion attenuation, of which nothing is known by family and size."""


@dataclass(frozen=True)
class Way:
    """A way of drawing.

    Attributes:
        label: its name for users.
        help: what is drawn, as a phrase.
        settings: CR-Diff's settings for it, from the accordion's.
        native: whether it is drawn at the size nearest to the job's that the model was trained at, and resampled.
        candidates: images from different seeds of which the one that scores highest is taken.
    """

    label: str
    help: str
    settings: Callable[[Settings], Settings]
    native: bool = False
    candidates: int = 1


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


def _attention(present: Settings) -> Settings:
    return Settings(enabled=True, preset=CUSTOM, down=0.0, mid=0.0, up=0.0, attention_scale=_scale(present))


def _sizes(present: Settings) -> Settings:
    return Settings(enabled=True, preset=CUSTOM, down=0.0, mid=0.0, up=0.0, size_conditioning=NATIVE)


def _both(present: Settings) -> Settings:
    return replace(_crdiff(present), attention_scale=_scale(present))


def _scale(present: Settings) -> str:
    """The accordion's attention scale; auto where it is off."""
    return attention_scale.AUTO if present.attention is None else present.attention_scale


def _attenuation(present: Settings) -> Settings:
    ratio = ATTENUATION
    return Settings(True, CUSTOM, down=ratio, mid=ratio, up=ratio, k=1.0, criterion="attenuation")


WAYS: Mapping[str, Way] = {
    DENSE: Way("dense", "the model as it is", _dense),
    PRUNED: Way("pruned (k = 1)", "what the accordion prunes, with k = 1", _pruned),
    CRDIFF: Way("CR-Diff", "as the accordion is set; by Auto with its criterion where it is off", _crdiff),
    "attention": Way("attention scale", "nothing pruned, self-attention scaled as set, else by auto", _attention),
    "crdiff+attention": Way("CR-Diff, attention scale", "both together", _both),
    "sizes": Way("size conditioning", "nothing pruned, SDXL told a size of the area of its training", _sizes),
    "attenuation": Way("attenuation", f"all prunable weights {ATTENUATION:.0%} weaker, nothing left out", _attenuation),
    "native": Way(
        "native, resampled", "dense at the size of training with this aspect, resampled", _dense, native=True
    ),
    "best-of-2": Way(
        "best of 2 dense",
        "of two dense images, one from another seed, that with the higher score",
        _dense,
        candidates=2,
    ),
}
"""By the name that the API takes, in the order in which they are shown."""

USUAL = (DENSE, PRUNED, CRDIFF)

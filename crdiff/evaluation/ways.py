"""The ways of drawing an image that are compared, and what each comes to at a size.

A way is written as its name and, where they differ, settings: ``crdiff``, ``crdiff:k=2``, ``crdiff:criterion=wanda`` or
``attenuation:ratios=0.2/0.2/0.2``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crdiff.checks import shown
from crdiff.cost import passes_of
from crdiff.errors import SettingsError
from crdiff.method.attention_scale import AUTO
from crdiff.method.groups import Ratios
from crdiff.models.checkpoint import Checkpoint
from crdiff.models.family import OTHER
from crdiff.plan import idle, plan_for
from crdiff.presets.library import PresetLibrary
from crdiff.presets.size import Size
from crdiff.settings import Settings
from crdiff.specs import CUSTOM, NATIVE, SPECS

DENSE = "dense"


@dataclass(frozen=True)
class Kind:
    """A way as it is registered.

    Attributes:
        help: what it does, in one sentence.
        changes: what it sets, over the settings of the evaluation; None draws without CR-Diff.
        native: drawn at the model's own size in the nearest shape, and scaled to the size wanted.
        candidates: images from other seeds of which the one that scores highest is taken.
    """

    help: str
    changes: Mapping[str, Any] | None
    native: bool = False
    candidates: int = 1


_ATTENTION_ALONE = {"ratios": "0/0/0", "attention_scale": AUTO}
_SIZES_ALONE = {"ratios": "0/0/0", "size_conditioning": NATIVE}

WAYS: Mapping[str, Kind] = {
    DENSE: Kind("the model as it is", None),
    "pruned": Kind("the pruned model alone, without amplification", {"k": 1.0}),
    "crdiff": Kind("CR-Diff by the settings of the evaluation", {}),
    "attention": Kind("nothing pruned, self-attention scaled by the number of its tokens", _ATTENTION_ALONE),
    "crdiff+attention": Kind("both together", {"attention_scale": AUTO}),
    "sizes": Kind("nothing pruned, SDXL told a size of the area that it was trained at", _SIZES_ALONE),
    "attenuation": Kind(
        "self-attention and feed-forward weakened by 0.1, or by ratios=, in one pass",
        {"criterion": "attenuation", "ratios": "0.1/0.1/0.1", "k": 1.0},
    ),
    "native": Kind("the model as it is at the size it was trained at, in the nearest shape, scaled", None, native=True),
    **{f"best-of-{n}": Kind(f"of {n} dense images the one that scores highest", None, candidates=n) for n in (2, 4)},
}

_RARE = ("candidates", "chosen_by", "calibration")
"""What few drawings have, by its name in Drawing."""


@dataclass(frozen=True)
class Drawing:
    """A way at a size, with everything settled. Those that draw the same are equal, whatever is told of them.

    Attributes:
        way: as it was written.
        settings: of CR-Diff, ratios and k by hand.
        size: to draw at.
        passes: UNet passes for each of the model's own at the size wanted.
        origin: where the ratios come from, or what is drawn, as a phrase.
        published: the paper's figures of it, by metric.
        candidates: images from other seeds of which the one that scores highest is taken.
        chosen_by: the metric by which it is, where there are several.
        calibration: the id of the one that the criterion goes by; empty if it needs none.
    """

    way: str
    settings: Settings
    size: Size
    passes: float
    origin: str = field(compare=False)
    published: Mapping[str, float] = field(default_factory=dict, compare=False)
    candidates: int = 1
    chosen_by: str = ""
    calibration: str = ""

    @property
    def key(self) -> str:
        """Tells its images from those of other settings."""
        calibrated = [self.calibration] if self.calibration else []
        return json.dumps([str(self.size), changed(self.settings), *calibrated], sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        settled = {"settings": changed(self.settings), "drawn_at": str(self.size), "passes": self.passes}
        told = {"origin": self.origin, "published": dict(self.published)}
        rare = {name: value for name in _RARE if (value := getattr(self, name)) != getattr(Drawing, name)}
        return {"way": self.way, **settled, **told, **rare}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Drawing:
        """The inverse of ``to_dict``."""
        settings, size = Settings.from_dict(values["settings"]), Size.parse(values["drawn_at"])
        rare = {name: values[name] for name in _RARE if name in values}
        return cls(values["way"], settings, size, values["passes"], values["origin"], values["published"], **rare)


@dataclass(frozen=True)
class Way:
    """A way with its settings.

    Attributes:
        text: as it was written.
        kind: of it.
        changes: settings given with it.
    """

    text: str
    kind: Kind
    changes: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str) -> Way:
        """From ``name`` or ``name:setting=value:...``.

        Raises:
            SettingsError: there is no such way or setting.
        """
        name, *given = text.strip().split(":")
        kind = WAYS.get(name)
        if kind is None:
            raise SettingsError(f"There is no way {shown(name)} of drawing; known are {', '.join(WAYS)}.")
        if given and kind.changes is None:
            raise SettingsError(f"The way {name} draws without CR-Diff and takes no settings.")
        way = cls(text.strip(), kind, dict(_setting(text, part) for part in given))
        if kind.changes is not None:
            way.settings(Settings(enabled=True))
        return way

    def settings(self, base: Settings) -> Settings:
        """Of CR-Diff, before presets are looked up; off where the way draws without it.

        Raises:
            SettingsError: one of the way's own cannot be used.
        """
        if self.kind.changes is None:
            return Settings()
        changes = {**self.kind.changes, **self.changes}
        if "ratios" in changes:
            ratios = Ratios.parse(changes.pop("ratios"))
            changes = {
                "preset": CUSTOM,
                "down": ratios.down,
                "mid": ratios.mid,
                "up": ratios.up,
                "stages": "",
                **changes,
            }
        return Settings.from_dict({**base.to_dict(), "enabled": True, **changes})

    def at(
        self, size: Size, base: Settings, checkpoint: Checkpoint, library: PresetLibrary, chooser: str = ""
    ) -> Drawing:
        """What it comes to.

        Args:
            size: wanted.
            base: the settings of the evaluation.
            checkpoint: the model.
            library: where presets are looked up.
            chooser: the metric by which the best of several images is taken.

        Raises:
            CRDiffError: there are no ratios, or no native size, for the model.
        """
        family = checkpoint.family or OTHER
        if self.kind.native:
            native = library.native_size(family)
            if native is None:
                raise SettingsError(
                    f"The way {self.text} needs the size that the model was trained at, not known here."
                )
            drawn = native.with_aspect(size)
            passes = drawn.height * drawn.width / (size.height * size.width)
            return Drawing(self.text, Settings(), drawn, passes, f"drawn at {drawn}, scaled")
        settings, count = self.settings(base), self.kind.candidates
        if not settings.enabled:
            origin = "the model as it is" if count == 1 else f"the best of {count} dense images"
            chosen_by = chooser if count > 1 else ""
            return Drawing(self.text, settings, size, float(count), origin, candidates=count, chosen_by=chosen_by)
        plan = plan_for(settings, size, library).make(replace(checkpoint, family=family))
        given = "k" in self.changes or "k" in (self.kind.changes or ())
        if given or (base.k is not None and "stages" not in self.changes):  # also where stages have one of their own
            plan = replace(plan, schedule=plan.schedule.without_k())
        if plan.idle:  # its images are the dense model's, and are not drawn again
            told = "it is told this size anyway." if settings.size_conditioning == NATIVE else plan.idle
            return Drawing(self.text, Settings(), size, 1.0, f"the model as it is: {told}")
        pruned = idle(plan.schedule, plan.k) is None
        origin = ", ".join([plan.origin if pruned else "no pruning", *plan.adaptations])
        return Drawing(self.text, plan.by_hand(settings), size, passes_of(settings, plan, family), origin)


def changed(settings: Settings) -> dict[str, Any]:
    """The settings that are not at their defaults."""
    usual = Settings().to_dict()
    return {name: value for name, value in settings.to_dict().items() if value != usual[name]}


def _setting(text: str, part: str) -> tuple[str, Any]:
    name, sign, value = part.partition("=")
    if not sign or (name != "ratios" and name not in SPECS) or name == "enabled":
        known = ", ".join(["ratios", *(name for name in SPECS if name != "enabled")])
        raise SettingsError(f"The way {shown(text)} cannot be read at {shown(part)}; settings are {known}.")
    try:
        return name, float(value)
    except ValueError:
        return name, value

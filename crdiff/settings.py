"""The settings of CR-Diff, validated, from the UI's values or the API's object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from crdiff import checks
from crdiff.checks import exact, shown
from crdiff.errors import SettingsError
from crdiff.method.attention_scale import OFF, AttentionScale
from crdiff.method.groups import GROUPS, Ratios, check_ratio
from crdiff.method.schedule import EXAMPLE, Schedule, StepWindow
from crdiff.models.scope import AUTO_THRESHOLD, RELEASED, Scope
from crdiff.modes.registry import DEFAULT_MODE
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.specs import AUTO, BY_HAND, CUSTOM, NATIVE, SCHEDULES, SPECS


@dataclass(frozen=True)
class Settings:
    """What a user can set, validated.

    Attributes:
        enabled: whether CR-Diff acts at all.
        preset: ``auto`` looks the ratios up by model and size, ``custom`` takes down, mid and up, anything else is
            the name of a preset.
        down: ratio of the down blocks in [0, 1), for ``custom``.
        mid: ratio of the mid block.
        up: ratio of the up blocks.
        k: amplification in [-2, 3] (paper eq. 2); None means the preset's own, else 1.5.
        start: fraction of the schedule from which CR-Diff acts, in [0, 1].
        end: fraction up to which it acts, in [0, 1].
        hires: the passes of a hires-fix run it acts in: ``both``, ``first`` or ``second``.
        mode: how the amplified prediction is computed, a name in ``MODES``.
        criterion: what decides which weights are pruned, a name in ``CRITERIA``.
        hires_ratios: what ``custom`` takes in the second pass of hires fix, a Schedule in text; empty takes what it
            takes in the first.
        layers: which layers of a transformer are pruned, a name in ``LAYER_SETS``.
        threshold: what shares a threshold, a name in ``THRESHOLDS``.
        stages: what ``custom`` takes in place of down, mid and up, a Schedule in text with at least two stages; empty
            takes the same at every step. Of one stage it becomes down, mid, up and k; otherwise they are those of the
            first stage, and k is that of stages that have none.
        attention_scale: how self-attention is scaled, an AttentionScale in text or ``off``; a factor may be a number.
        size_conditioning: what SDXL is told of the image's size: ``off`` for what the host tells it, or ``native``.

    Schedules are given in text or as a list of objects (see ``Stage.from_json``).

    Raises:
        SettingsError: naming the field that cannot be used.
    """

    enabled: bool = False
    preset: str = AUTO
    down: float = 0.3
    mid: float = 0.3
    up: float = 0.3
    k: float | None = None
    start: float = 0.0
    end: float = 1.0
    hires: str = "both"
    mode: str = DEFAULT_MODE
    criterion: str = DEFAULT_CRITERION
    hires_ratios: str = ""
    layers: str = RELEASED
    threshold: str = AUTO_THRESHOLD
    stages: str = ""
    attention_scale: str = OFF
    size_conditioning: str = OFF

    def __post_init__(self) -> None:
        checks.flag("CR-Diff: enabled", self.enabled)
        if not isinstance(self.preset, str) or not self.preset.strip():
            raise SettingsError(
                f"CR-Diff: preset must be the name of a preset, auto or custom, not {shown(self.preset)}."
            )
        if (word := self.preset.strip().casefold()) in (AUTO, CUSTOM):
            object.__setattr__(self, "preset", word)
        for group in GROUPS:
            object.__setattr__(self, group, check_ratio(f"CR-Diff: {group}", getattr(self, group)))
        for name in ("k", "start", "end"):
            value, spec = getattr(self, name), SPECS[name]
            if value is not None or name != "k":
                object.__setattr__(self, name, checks.number(f"CR-Diff: {name}", value, spec.low, spec.high))
        if self.start > self.end:
            raise SettingsError(f"CR-Diff: start ({exact(self.start)}) must not be after end ({exact(self.end)}).")
        for name in ("hires", "mode", "criterion", "layers", "threshold", "size_conditioning"):
            checks.choice(f"CR-Diff: {name}", getattr(self, name), SPECS[name].choices)
        for name in SCHEDULES:
            object.__setattr__(self, name, _check_schedule(name, getattr(self, name)))
        if self.stages and self.preset == CUSTOM:
            self._take_first_stage()
        try:
            scale = AttentionScale.parse(self.attention_scale)
        except SettingsError as error:
            raise SettingsError(f"CR-Diff: attention_scale {error}") from None
        object.__setattr__(self, "attention_scale", OFF if scale is None else str(scale))

    def _take_first_stage(self) -> None:
        schedule = Schedule.parse(self.stages)
        for group in GROUPS:
            object.__setattr__(self, group, schedule.first[group])
        if schedule.is_constant:
            k = schedule.stages[0].k
            object.__setattr__(self, "k", self.k if k is None else k)
            object.__setattr__(self, "stages", "")

    @property
    def ratios(self) -> Ratios:
        """The ratios set by hand, those of the first stage."""
        return Ratios(self.down, self.mid, self.up)

    @property
    def schedule(self) -> Schedule:
        """The ratios set by hand, over the steps."""
        return Schedule.parse(self.stages) if self.stages else Schedule.constant(self.ratios)

    @property
    def attention(self) -> AttentionScale | None:
        """How self-attention is scaled; None if it is not."""
        return AttentionScale.parse(self.attention_scale)

    @property
    def adapts(self) -> bool:
        """Whether something acts without pruning too."""
        return self.attention is not None or self.size_conditioning == NATIVE

    @property
    def window(self) -> StepWindow:
        """The part of the schedule to act in."""
        return StepWindow(self.start, self.end)

    @property
    def scope(self) -> Scope:
        """Which layers are pruned, and what shares a threshold."""
        return Scope(self.layers, self.threshold)

    def acts_in(self, *, hires_pass: bool) -> bool:
        """Whether the settings are on for a pass; a run without hires fix is a first pass."""
        return self.enabled and self.hires != ("first" if hires_pass else "second")

    def for_pass(self, *, hires_pass: bool) -> Settings:
        """What these settings come to in one pass: the second may have ratios, and a k, of its own."""
        if not (hires_pass and self.hires_ratios and self.preset == CUSTOM):
            return self
        return replace(self, stages=self.hires_ratios, hires_ratios="")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Settings from the API's object; an absent key takes its default.

        Ratios without a preset mean ``custom``, so that they are not silently overruled by the default ``auto``.
        """
        for key in values:
            if key not in SPECS:
                raise SettingsError(f"CR-Diff: unknown key {shown(key)}; known are {', '.join(SPECS)}.")
        values = dict(values)
        by_hand = any(group in values for group in GROUPS) or any(values.get(name) for name in SCHEDULES)
        if "preset" not in values and by_hand:
            values["preset"] = CUSTOM
        return cls(**values)

    @classmethod
    def from_args(cls, args: Sequence[Any]) -> Settings:
        """Settings from a script's arguments: the API's object, or values in the order of the fields (UI)."""
        if len(args) > 0 and isinstance(args[0], Mapping):
            # Hosts fill the list up with the UI's defaults; the object replaces them all.
            return cls.from_dict(args[0])
        names = [field.name for field in fields(cls)]
        if len(args) > len(names):
            raise SettingsError(f"CR-Diff: takes at most {len(names)} arguments ({', '.join(names)}), not {len(args)}.")
        return cls(**dict(zip(names, args)))

    def to_dict(self) -> dict[str, Any]:
        """The settings as the API's object."""
        return asdict(self)


def overruled(args: Sequence[Any]) -> str | None:
    """A sentence about ratios of the API's object that its preset, or its stages, leave unused; None if there are none.

    Args:
        args: a script's arguments, which ``Settings.from_args`` accepts.
    """
    if not (len(args) > 0 and isinstance(args[0], Mapping)):
        return None
    given, settings, defaults = args[0], Settings.from_dict(args[0]), Settings()
    if settings.preset == CUSTOM:
        if not given.get("stages"):
            return None
        first, all_have_k = settings.ratios, all(stage.k is not None for stage in settings.schedule.stages)
        unused = [group for group in GROUPS if given.get(group, first[group]) != first[group]]
        unused += ["k"] if all_have_k and given.get("k") is not None and settings.stages else []
        named = ", ".join(f"{name} {given[name]}" for name in unused)
        return f"The stages have numbers of their own; not used: {named}." if unused else None
    unused = [name for name in BY_HAND if getattr(settings, name) != getattr(defaults, name)]
    if not unused:
        return None
    named = ", ".join(f"{name} {given[name] if name in GROUPS else getattr(settings, name)}" for name in unused)
    return f"The preset {settings.preset} has ratios of its own; not used: {named} (the preset custom takes them)."


def _check_schedule(name: str, value: object) -> str:
    if value == "":
        return ""
    if not isinstance(value, (str, list, tuple)):
        raise SettingsError(f"CR-Diff: {name} must be text such as {EXAMPLE}, or a list of stages, not {shown(value)}.")
    try:
        return str(Schedule.parse(value) if isinstance(value, str) else Schedule.from_json(value))
    except SettingsError as error:
        form = f"written as in {EXAMPLE}" if isinstance(value, str) else "a list of stages"
        fault = str(error)
        raise SettingsError(f"CR-Diff: {name} must be {form}; {fault[:1].lower()}{fault[1:]}") from None

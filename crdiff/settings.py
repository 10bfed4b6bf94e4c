"""The settings of CR-Diff: one schema behind the UI, the API, the XYZ axes and the infotext."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from crdiff import checks
from crdiff.checks import exact, shown
from crdiff.errors import SettingsError
from crdiff.method import attention_scale
from crdiff.method.attention_scale import OFF, AttentionScale
from crdiff.method.groups import GROUPS, Ratios, check_ratio
from crdiff.method.schedule import EXAMPLE, MAX_K, MAX_STAGES, MIN_K, TEXT_PATTERN, Schedule, StepWindow
from crdiff.models.scope import AUTO_THRESHOLD, LAYER_SETS, RELEASED, THRESHOLDS, Scope
from crdiff.modes.registry import DEFAULT_MODE, MODES
from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION

AUTO = "auto"
CUSTOM = "custom"
DEFAULT_K = 1.5
MAX_RATIO = 0.999
"""The end of a slider for a ratio; the ratios themselves may be anything in [0, 1)."""
NATIVE = "native"
"""Of the size conditioning: SDXL is told sizes of the area that it was trained at."""
SCHEDULES = ("hires_ratios", "stages")
"""The settings that hold a schedule in text, or nothing."""
BY_HAND = (*GROUPS, *SCHEDULES)
"""The settings that only ``custom`` takes."""


@dataclass(frozen=True)
class Spec:
    """How one setting is shown and what it may be.

    Attributes:
        label: its name in the UI; stable, because hosts key saved defaults by it.
        help: what it does and what it costs, in one or two sentences.
        low: least number.
        high: largest number.
        step: step of a slider.
        offered: what a choice may be, by name; a registry, which may grow.
    """

    label: str
    help: str
    low: float = 0.0
    high: float = 1.0
    step: float = 0.001
    offered: Collection[str] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The possible values of a choice; empty for other settings."""
        return tuple(self.offered)


_RATIO_HELP = (
    "Share of the self-attention and feed-forward weights left out in the {} of the UNet, the smallest first, in "
    "[0, 1). In a transformer: {} of the blocks; in Flux: {}. 0 prunes nothing here. Moving it switches to Custom."
)

SPECS: Mapping[str, Spec] = {
    "enabled": Spec("Enable CR-Diff", "Draw with the dual pass. Off, the image and its time are the host's own."),
    "preset": Spec(
        "Preset",
        "Auto looks the ratios up for the checkpoint and the size of each pass; Custom takes the sliders; the others "
        "are tables from the paper and your own. Sizes are height x width, the other way round than the host's.",
    ),
    "down": Spec("Down ratio", _RATIO_HELP.format("down blocks", "first third", "double blocks"), high=MAX_RATIO),
    "mid": Spec(
        "Mid ratio", _RATIO_HELP.format("mid block", "middle third", "half of the single blocks"), high=MAX_RATIO
    ),
    "up": Spec("Up ratio", _RATIO_HELP.format("up blocks", "last third", "the other half"), high=MAX_RATIO),
    "k": Spec(
        "Amplification k",
        "z = k * pruned + (1 - k) * dense, where dense is the model as it is. Above 1 it steers past the pruned model, "
        "away from the dense one; below 0 it steers away from the pruned model (the direction of AutoGuidance). At 0 "
        "(dense only) and 1 (pruned only) one UNet pass a step is enough.",
        low=MIN_K,
        high=MAX_K,
        step=0.05,
    ),
    "start": Spec("Start", "Fraction of the steps from which CR-Diff acts. A step before it costs 1.0x.", step=0.01),
    "end": Spec("End", "Fraction of the steps up to which CR-Diff acts. A step after it costs 1.0x.", step=0.01),
    "hires": Spec(
        "Passes of Hires. fix",
        "The passes CR-Diff acts in when Hires. fix is on. Auto looks each pass up by its own size.",
        offered=("both", "first", "second"),
    ),
    "mode": Spec(
        "Mode",
        " ".join(f"{name.capitalize()}: {mode.help}" for name, mode in MODES.items())
        + " How near fast and balanced come has been measured on a small model only, not on SDXL.",
        offered=MODES,
    ),
    "criterion": Spec(
        "Criterion",
        "What the pruned pass leaves out or weakens. "
        + " ".join(f"{name.capitalize()}: {kind.help}" for name, kind in CRITERIA.items()),
        offered=CRITERIA,
    ),
    "hires_ratios": Spec(
        "Ratios of the hires pass",
        "Custom's ratios in the second pass of Hires. fix: down/mid/up, such as 0.3/0.34/0.3, with a k of its own as a "
        "fourth number, or stages. Empty: as in the first pass. Pasting an image that Auto has drawn fills it.",
    ),
    "layers": Spec(
        "Layers of a transformer",
        "What is pruned of Flux, SD3 and other transformers; a UNet has no choice. "
        + " ".join(f"{name.capitalize()}: {help}" for name, help in LAYER_SETS.items()),
        offered=LAYER_SETS,
    ),
    "threshold": Spec(
        "Threshold",
        "Which weights the criteria magnitude and soft compare with one another. "
        + " ".join(f"{name.capitalize()}: {help}" for name, help in THRESHOLDS.items()),
        offered=THRESHOLDS,
    ),
    "stages": Spec(
        "Stages",
        f"Ratios that change over the steps, for Custom, such as {EXAMPLE}: down/mid/up and, where it differs, k; from "
        f"the second stage on with the fraction of the steps where it begins. At most {MAX_STAGES}. They cost hardly "
        "anything, but a CUDA graph is captured anew for each. The sliders then show and change the stage that is "
        "chosen in the diagram. Empty: the sliders' ratios.",
    ),
    "attention_scale": Spec(
        "Attention scale",
        "Scales the self-attention of a UNet by sqrt(log N / log T), N its tokens and T those at the size it was "
        "trained at (Jin et al. 2023). Auto knows that size by the model's family; another is written as auto 768x768 "
        "(height x width), and a number is a factor for all layers. It costs nothing, and acts without pruning too.",
        low=attention_scale.LOW,
        high=attention_scale.HIGH,
    ),
    "size_conditioning": Spec(
        "Size conditioning",
        "SDXL is told the size of an image beside the prompt. Native tells it, as original and as wanted size, one of "
        "the area that it was trained at with about the same aspect, whatever the image's own. It costs nothing, acts "
        "without pruning too, and is for SDXL only.",
        offered=(OFF, NATIVE),
    ),
}


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


def _stages_schema() -> dict[str, Any]:
    below_one = {"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}
    k = {"type": ["number", "null"], "minimum": MIN_K, "maximum": MAX_K}
    stage = {
        "type": "object",
        "properties": {**dict.fromkeys(("from", *GROUPS), below_one), "k": k},
        "required": ["from", *GROUPS],
        "additionalProperties": False,
    }
    return {"type": "array", "minItems": 1, "maxItems": MAX_STAGES, "items": stage}


def json_schema() -> dict[str, Any]:
    """The API's object as a JSON Schema."""
    defaults = Settings().to_dict()
    properties: dict[str, dict[str, Any]] = {}
    for name, spec in SPECS.items():
        entry: dict[str, Any] = {"title": spec.label, "description": spec.help, "default": defaults[name]}
        if name in GROUPS:
            entry |= {"type": "number", "minimum": 0.0, "exclusiveMaximum": 1.0}
        elif name == "k":
            entry |= {"type": ["number", "null"], "minimum": spec.low, "maximum": spec.high}
        elif spec.choices:
            entry |= {"type": "string", "enum": list(spec.choices)}
        elif isinstance(defaults[name], bool):
            entry |= {"type": "boolean"}
        elif name == "attention_scale":
            words = rf"^({OFF}|{attention_scale.AUTO}( {attention_scale.SIZE_PATTERN})?|[0-9.]+)$"
            factor = {"type": "number", "minimum": spec.low, "maximum": spec.high}
            entry |= {"anyOf": [{"type": "string", "pattern": words}, factor]}
        elif name in SCHEDULES:
            entry |= {"anyOf": [{"const": ""}, {"type": "string", "pattern": TEXT_PATTERN}, _stages_schema()]}
        elif isinstance(defaults[name], str):
            entry |= {"type": "string", "minLength": 1}
        else:
            entry |= {"type": "number", "minimum": spec.low, "maximum": spec.high}
        properties[name] = entry
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "CR-Diff",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }

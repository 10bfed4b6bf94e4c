"""CR-Diff in the infotext: what is written with an image, and what pasting it restores.

Every key starts with "CR-Diff" and stays what it is from version to version; the version has a key of its own.
Settings other than preset, ratios and k are left out at their defaults. Numbers have as many digits as it takes to
read back the same number, so that an infotext draws its image again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from crdiff import __version__
from crdiff.checks import exact
from crdiff.errors import SettingsError
from crdiff.guidance.prepared import Applied
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import Schedule
from crdiff.plan import Plan
from crdiff.presets.library import PresetLibrary
from crdiff.presets.names import same
from crdiff.settings import Settings
from crdiff.specs import AUTO, BY_HAND, CUSTOM, DEFAULT_K, SCHEDULES, SPECS

_PREFIX = "CR-Diff "
VERSION_KEY = _PREFIX + "version"
HIRES_K_KEY = _PREFIX + "hires k"
LATER_KEY = _PREFIX + "later ratios"
SOURCE_KEY = _PREFIX + "source"
SPARSITY_KEY = _PREFIX + "sparsity"
CALIBRATION_KEY = _PREFIX + "calibration"
NOTE_KEY = _PREFIX + "note"
GRAPHS_KEY = _PREFIX + "CUDA graphs"
_NEAR = 1e-3
"""A sparsity this near its ratio says no more than the ratio does."""
_NUMBERS = ("preset", "k", *BY_HAND)
"""The settings that are written as what an image was drawn with."""


def key_of(name: str) -> str:
    """The infotext key of a setting."""
    return _PREFIX + name.replace("_", " ")


_MARK = key_of("k")
_SECOND = key_of("hires_ratios")
_STAGES = key_of("stages")
KEYS = [*(key_of(name) for name in SPECS if name != "enabled"), HIRES_K_KEY]


@dataclass(frozen=True)
class Outcome:
    """What came of a pass of the sampler that CR-Diff was set to act in.

    Attributes:
        applied: what was done, in the order of the steps; empty if nothing was.
        reason: why nothing, or not all, was done, and warnings, in sentences; empty if there are none.
        refused: whether the model, or one that it was switched to, could not be handled.
        replayed: predictions that were replayed from a CUDA graph.
        adapted: what else was done, pruned or not; None if nothing was.
    """

    applied: Sequence[Applied] = ()
    reason: str = ""
    refused: bool = False
    replayed: int = 0
    adapted: Plan | None = None

    @property
    def drawn(self) -> tuple[Schedule, float | None]:
        """What redraws the pass, and the k of stages that have none; ratios of 0 if nothing was done."""
        plan = self.applied[0].plan if self.applied else None
        return (Schedule.constant(Ratios()), None) if plan is None else (plan.schedule, plan.k)

    @property
    def later(self) -> list[str]:
        """What was done otherwise after a switch of the model."""
        plans = [plan for plan, _ in groupby(one.plan for one in self.applied)]
        drawn = [str(plan.schedule.with_k(plan.k)) for plan in plans]
        changed = [after for before, after in pairwise(drawn) if after != before]
        return [*changed, "none"] if self.applied and self.refused else changed


def preset_label(name: str) -> str:
    """How the preset control shows a preset's name."""
    return name.capitalize() if name in (AUTO, CUSTOM) else name


def clear(params: dict[str, Any]) -> None:
    """Remove CR-Diff's keys; the XYZ plot shares one dictionary between its cells."""
    for key in [key for key in params if isinstance(key, str) and key.startswith(_PREFIX)]:
        del params[key]


def write(params: dict[str, Any], settings: Settings, passes: Mapping[bool, Outcome], remark: str = "") -> None:
    """Write the settings of an enabled job and what has come of them, in place of what was written before.

    Args:
        params: the image's generation parameters.
        settings: of the job.
        passes: what came of the first pass (False) and of the second of hires fix (True), as far as they are over.
        remark: sentences on the job as a whole.
    """
    clear(params)
    params[VERSION_KEY] = __version__
    params[key_of("preset")] = settings.preset
    _write_numbers(params, settings, passes)
    defaults = Settings()
    for name in SPECS:
        value = getattr(settings, name)
        if name not in ("enabled", *_NUMBERS) and value != getattr(defaults, name):
            params[key_of(name)] = exact(value) if isinstance(value, float) else value
    if adapted := [outcome.adapted for outcome in passes.values() if outcome.adapted is not None]:
        if (scale := adapted[0].attention) is not None:
            # With the size it started from, so that an image is drawn again whatever is known of its model by then.
            params[key_of("attention_scale")] = str(scale)
        params[SOURCE_KEY] = ", ".join(["no pruning", *adapted[0].adaptations])
    acted = [outcome for _, outcome in sorted(passes.items()) if outcome.applied]
    if acted:
        first = acted[0].applied[0]
        params[SOURCE_KEY] = first.plan.origin
        if first.family.transformer:
            # Always told, so that an image is drawn again whatever the default has become.
            params[key_of("layers")] = settings.layers
        stages = [one for one in acted[0].applied if one.plan is first.plan]
        if any(map(_differs, stages)):
            params[SPARSITY_KEY] = "; ".join(map(_sparsity, stages))
        if first.basis:
            params[CALIBRATION_KEY] = first.basis
    if later := [text for outcome in acted for text in outcome.later]:
        params[LATER_KEY] = "; ".join(later)
    if note := " ".join(filter(None, [remark, *_reasons(passes)])):
        params[NOTE_KEY] = note
    if replayed := sum(outcome.replayed for outcome in passes.values()):
        params[GRAPHS_KEY] = replayed


def _write_numbers(params: dict[str, Any], settings: Settings, passes: Mapping[bool, Outcome]) -> None:
    """The ratios and k of the job's passes, those of the second where they are not those of the first."""
    k = DEFAULT_K if settings.k is None else settings.k
    drawn: list[tuple[Schedule, float | None]] = []
    if settings.preset == CUSTOM:
        drawn = [(settings.schedule, k)]
        if settings.hires_ratios:
            second = settings.for_pass(hires_pass=True)
            drawn.append((second.schedule, second.k))
    elif any(outcome.applied for outcome in passes.values()):
        drawn = [outcome.drawn for _, outcome in sorted(passes.items())]
        k = next(one for _, one in drawn if one is not None)
    for schedule, _ in drawn[:1]:
        params.update({key_of(group): exact(schedule.first[group]) for group in GROUPS})
        if not schedule.is_constant:
            params[_STAGES] = str(schedule)
    params[_MARK] = exact(k)
    for schedule, other_k in drawn[1:]:
        if schedule != drawn[0][0]:
            params[_SECOND] = str(schedule)
        if other_k is not None and other_k != k:
            params[HIRES_K_KEY] = exact(other_k)


def _sparsity(applied: Applied) -> str:
    return "/".join(f"{found.sparsity:.3f}" for found in applied.sparsity.values())


def _differs(applied: Applied) -> bool:
    """Whether the share that was pruned in a group is another than its ratio."""
    pairs = [(found, applied.ratios[group]) for group, found in applied.sparsity.items() if found.weights]
    return any(abs(found.sparsity - ratio) >= _NEAR or (ratio > 0 and not found.pruned) for found, ratio in pairs)


def _reasons(passes: Mapping[bool, Outcome]) -> list[str]:
    named = ("First pass: ", "Second pass: ") if len(passes) > 1 else ("", "")
    return [named[hires_pass] + outcome.reason for hires_pass, outcome in sorted(passes.items()) if outcome.reason]


def reader(name: str, library: PresetLibrary) -> Callable[[Mapping[str, Any]], Any]:
    """What pasting an infotext sets a control to, such that the image is drawn again.

    Without CR-Diff in the infotext only ``enabled`` changes, to off. With it, an absent key takes its default. The
    ratios that Auto found come back as Custom, since another preset may fit by now, and so do those of a preset that
    no longer exists or has changed.

    Args:
        name: the setting.
        library: the presets there are.
    """
    default = getattr(Settings(), name)

    def read(params: Mapping[str, Any]) -> Any:
        present = _MARK in params
        if name == "enabled":
            return present
        if not present:
            return None
        value = params.get(key_of(name))
        if name == "preset":
            return preset_label(_preset(params, library))
        if name in SCHEDULES:
            read_schedule = _second if name == "hires_ratios" else _stages
            return read_schedule(params) if _preset(params, library) == CUSTOM else ""
        if name == "attention_scale":
            return _attention_scale(value)
        if SPECS[name].choices:
            return value if value in SPECS[name].choices else default
        if value is None and name in GROUPS:
            return None
        return _number(value, default, name)

    return read


def _preset(params: Mapping[str, Any], library: PresetLibrary) -> str:
    """The preset that draws the image again."""
    key = key_of("preset")
    # Hosts take a value such as 640x832 apart, as they do the image's size.
    sides = [str(params[side]) for side in (f"{key}-1", f"{key}-2") if side in params]
    name = str(params.get(key) or "x".join(sides) or CUSTOM)
    texts = [params.get(key_of(group)) for group in GROUPS]
    if same(name, AUTO):
        return AUTO if None in texts or LATER_KEY in params else CUSTOM
    try:
        preset = library.named(name)
    except SettingsError:
        return CUSTOM
    if None in texts:
        return preset.name
    if _STAGES in params:
        unchanged = params[_STAGES] == str(preset.schedule)
    else:
        # Version 1.0.0 wrote the ratios of the first stage it acted in, and that there were later ones.
        unchanged = (preset.schedule.is_constant or LATER_KEY in params) and any(
            all(_reads_as(stage.ratios[group], text) for group, text in zip(GROUPS, texts))
            for stage in preset.schedule.stages
        )
    unchanged = unchanged and preset.criterion == params.get(key_of("criterion"), Settings.criterion)
    return preset.name if unchanged and (preset.k is None or _reads_as(preset.k, params[_MARK])) else CUSTOM


def _reads_as(number: float, text: Any) -> bool:
    """Whether a number is written so; version 1.0.0 wrote four digits."""
    return str(text) in (exact(number), f"{number:.4g}")


def _second(params: Mapping[str, Any]) -> str:
    """What ``hires_ratios`` is set to, empty if the second pass was drawn as the first."""
    first = [_number(params.get(key_of(group)), 0.0, group) for group in GROUPS]
    text = params.get(_SECOND) or params.get(_STAGES) or "/".join(exact(ratio or 0.0) for ratio in first)
    k = params.get(HIRES_K_KEY)
    # Version 1.0.0 told the ratios of the first pass again, in three digits, where they have more.
    told_again = _STAGES not in params and text == "/".join(f"{ratio:.3g}" for ratio in first)
    if k is None and (_SECOND not in params or told_again):
        return ""
    try:
        schedule = Schedule.parse(text)
        return Settings(hires_ratios=str(schedule if k is None else schedule.with_k(float(k)))).hires_ratios
    except ValueError:
        return ""


def _stages(params: Mapping[str, Any]) -> str:
    """What ``stages`` is set to."""
    try:
        return Settings(preset=CUSTOM, stages=params.get(_STAGES, "")).stages
    except SettingsError:
        return ""


def _attention_scale(value: Any) -> str:
    """What ``attention_scale`` is set to; off where it cannot be read."""
    with suppress(SettingsError):
        return Settings(attention_scale=value).attention_scale
    return Settings.attention_scale


def _number(value: Any, default: float | None, name: str) -> float | None:
    """A number of a setting; one that lies outside its range, of another version or typed in, is brought within."""
    try:
        number = float(value) + 0.0
    except (TypeError, ValueError):
        return default
    if name in GROUPS and 0.0 <= number < 1.0:
        return number
    return min(max(number, SPECS[name].low), SPECS[name].high) if number == number else default

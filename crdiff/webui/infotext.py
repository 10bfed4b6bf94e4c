"""CR-Diff in the infotext: what is written with an image, and what pasting it restores.

Every key starts with "CR-Diff" and stays what it is from version to version; the version has a key of its own.
Settings other than preset, ratios and k are left out at their defaults. Numbers have as many digits as it takes to
read back the same number, so that an infotext draws its image again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from crdiff import __version__
from crdiff.checks import exact
from crdiff.errors import SettingsError
from crdiff.guidance.prepared import Applied
from crdiff.method.groups import GROUPS, PassRatios, Ratios
from crdiff.presets.library import PresetLibrary
from crdiff.presets.names import same
from crdiff.settings import AUTO, CUSTOM, DEFAULT_K, SPECS, Settings

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
_NUMBERS = ("preset", *GROUPS, "k", "hires_ratios")
"""The settings that are written as what an image was drawn with."""


def key_of(name: str) -> str:
    """The infotext key of a setting."""
    return _PREFIX + name.replace("_", " ")


_MARK = key_of("k")
_SECOND = key_of("hires_ratios")
KEYS = [*(key_of(name) for name in SPECS if name != "enabled"), HIRES_K_KEY]


@dataclass(frozen=True)
class Outcome:
    """What came of a pass of the sampler that CR-Diff was set to act in.

    Attributes:
        applied: what was done, in the order of the steps; empty if nothing was.
        reason: why nothing, or not all, was done, and warnings, in sentences; empty if there are none.
        refused: whether the model, or one that it was switched to, could not be handled.
        replayed: predictions that were replayed from a CUDA graph.
    """

    applied: Sequence[Applied] = ()
    reason: str = ""
    refused: bool = False
    replayed: int = 0

    @property
    def numbers(self) -> PassRatios:
        """What redraws the first step that CR-Diff acted in; ratios of 0 if there was none."""
        return _numbers(self.applied[0]) if self.applied else PassRatios(Ratios())

    @property
    def later(self) -> list[str]:
        """What was done otherwise in later steps, by a preset with several stages or after a switch of the model."""
        numbers = [str(_numbers(one)) for one in self.applied]
        changed = [after for before, after in pairwise(numbers) if after != before]
        return [*changed, "none"] if self.applied and self.refused else changed


def _numbers(applied: Applied) -> PassRatios:
    return PassRatios(applied.ratios, applied.plan.k)


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
    acted = [outcome for _, outcome in sorted(passes.items()) if outcome.applied]
    if acted:
        first = acted[0].applied[0]
        params[SOURCE_KEY] = first.plan.origin
        if first.family.transformer:
            # Always told, so that an image is drawn again whatever the default has become.
            params[key_of("layers")] = settings.layers
        if _differs(first):
            params[SPARSITY_KEY] = "/".join(f"{found.sparsity:.3f}" for found in first.sparsity.values())
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
    if settings.preset == CUSTOM:
        numbers = [PassRatios(settings.ratios, k)]
        numbers += [PassRatios.parse(settings.hires_ratios)] if settings.hires_ratios else []
    elif any(outcome.applied for outcome in passes.values()):
        numbers = [outcome.numbers for _, outcome in sorted(passes.items())]
        k = next(one.k for one in numbers if one.k is not None)
    else:
        numbers = []
    for first in numbers[:1]:
        params.update({key_of(group): exact(first.ratios[group]) for group in GROUPS})
    params[_MARK] = exact(k)
    for second in numbers[1:]:
        other_k = k if second.k is None else second.k
        if second.ratios != numbers[0].ratios:
            params[_SECOND] = str(second.ratios)
        if other_k != k:
            params[HIRES_K_KEY] = exact(other_k)


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
        if name == "hires_ratios":
            return _second(params) if _preset(params, library) == CUSTOM else ""
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
    unchanged = preset.criterion == params.get(key_of("criterion"), Settings.criterion) and any(
        all(_reads_as(stage.ratios[group], text) for group, text in zip(GROUPS, texts))
        for stage in preset.schedule.stages
    )
    return preset.name if unchanged and (preset.k is None or _reads_as(preset.k, params[_MARK])) else CUSTOM


def _reads_as(number: float, text: Any) -> bool:
    """Whether a number is written so; version 1.0.0 wrote four digits."""
    return str(text) in (exact(number), f"{number:.4g}")


def _second(params: Mapping[str, Any]) -> str:
    """What ``hires_ratios`` is set to, empty if the second pass was drawn as the first."""
    first = [_number(params.get(key_of(group)), 0.0, group) for group in GROUPS]
    text = params.get(_SECOND, "/".join(exact(ratio or 0.0) for ratio in first))
    k = params.get(HIRES_K_KEY)
    # Version 1.0.0 told the ratios of the first pass again, in three digits, where they have more.
    if k is None and text == "/".join(f"{ratio:.3g}" for ratio in first):
        return ""
    try:
        return Settings(hires_ratios=text if k is None else f"{text}/{k}").hires_ratios
    except SettingsError:
        return ""


def _number(value: Any, default: float | None, name: str) -> float | None:
    """A number of a setting; one that lies outside its range, of another version or typed in, is brought within."""
    try:
        number = float(value) + 0.0
    except (TypeError, ValueError):
        return default
    if name in GROUPS and 0.0 <= number < 1.0:
        return number
    return min(max(number, SPECS[name].low), SPECS[name].high) if number == number else default

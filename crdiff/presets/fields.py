"""What the entries of a file of presets may be, in a family's file and in the user's own."""

from __future__ import annotations

from collections.abc import Mapping

from crdiff.errors import PresetError, SettingsError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import MAX_K, MIN_K, Schedule, Stage
from crdiff.models.architecture import known_families
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import LAYER_SETS, THRESHOLDS, Scope
from crdiff.presets.document import Value
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION

MIN_SIDE = 64
MAX_SIDE = 99999
FOUND_FOR = ("criterion", "layers", "threshold")
"""The keys that say what ratios were found for."""


def read_family(value: Value, *, other: bool = False) -> Family:
    """The family a file names, one with presets of its own; with ``other`` also none of them."""
    known = (*known_families(), OTHER) if other else known_families()
    for family in known:
        if value.content == family.value:
            return family
    raise value.fault("must be one of " + ", ".join(family.value for family in known))


def read_size(value: Value) -> Size:
    """A size written HEIGHTxWIDTH in plain digits, 64 to 99999 pixels a side."""
    try:
        size = Size.parse(value.content) if isinstance(value.content, str) else None
    except PresetError:
        size = None
    if size is None or str(size) != value.content or min(size.height, size.width) < MIN_SIDE:
        raise value.fault(f"must be HEIGHTxWIDTH with {MIN_SIDE} to {MAX_SIDE} pixels a side, such as 400x560")
    return size


def read_ratios(value: Value) -> Ratios:
    """The three ratios, each in [0, 1)."""
    entries = value.entries(required=GROUPS)
    return Ratios(**{group: entries[group].number(0.0, 1.0, high_allowed=False) for group in GROUPS})


def read_schedule(value: Value) -> Schedule:
    """The ratios over the steps: an object with down, mid and up, or an array of stages, each with its start too."""
    if not isinstance(value.content, list):
        return Schedule.constant(read_ratios(value))
    stages = [_read_stage(stage) for stage in value.items(at_least=1)]
    try:
        return Schedule(tuple(stages))
    except SettingsError as error:
        raise value.refusal(f"is no schedule: {str(error).removesuffix('.')}") from None


def _read_stage(value: Value) -> Stage:
    entries = value.entries(required=("from", *GROUPS), optional=("k",))
    start, *ratios = (entries[key].number(0.0, 1.0, high_allowed=False) for key in ("from", *GROUPS))
    return Stage(start, Ratios(*ratios), read_k(entries["k"]) if "k" in entries else None)


def read_k(value: Value) -> float:
    """A pruned output amplification in [-2, 3]."""
    return value.number(MIN_K, MAX_K, high_allowed=True)


def read_criterion(entries: Mapping[str, Value]) -> str:
    """What a preset's ratios were found for; any name, since a later version may know more of them."""
    return entries["criterion"].line() if "criterion" in entries else DEFAULT_CRITERION


def read_scope(entries: Mapping[str, Value]) -> Scope:
    """The layers and thresholds that a preset's ratios were found for."""
    found = {}
    for key, known in (("layers", LAYER_SETS), ("threshold", THRESHOLDS)):
        if key in entries:
            found[key] = entries[key].line()
            if found[key] not in known:
                raise entries[key].fault("must be one of " + ", ".join(known))
    return Scope(**found)

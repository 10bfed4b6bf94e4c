"""Presets and the files they come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from crdiff.errors import PresetError, SettingsError
from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import MAX_K, MIN_K, Schedule, Stage
from crdiff.models.architecture import known_families
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import LAYER_SETS, THRESHOLDS, Scope
from crdiff.presets.document import Value, parse_document
from crdiff.presets.names import check_name, same
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION

BUILT_IN_FOLDER = Path(__file__).resolve().parents[2] / "presets"
MIN_SIDE = 64
MAX_SIDE = 99999
_SCHEMA_FILE = "schema.json"
FOUND_FOR = ("criterion", "layers", "threshold")
"""The keys that say what ratios were found for."""
_OPTIONAL = ("name", "native", "k", "checkpoints", "source", "note", *FOUND_FOR)


@dataclass(frozen=True)
class Preset:
    """Pruning ratios for an image size.

    Attributes:
        name: 1 to 80 printable characters.
        family: the checkpoint family; OTHER only in presets limited to checkpoints, since it is no family.
        size: image size in pixels, 64 to 99999 a side.
        schedule: share of the weights pruned in the down, mid and up group, over the steps.
        k: pruned output amplification found together with the ratios, in [-2, 3], for the stages that have none of
            their own; None leaves it to the user.
        checkpoints: SHA-256 of the checkpoint files the ratios were found on; empty if not known.
        limited: True if the preset serves its ``checkpoints`` only, False if the family's fine-tunes as well.
        native: True for the size the family was trained at.
        source: where the ratios come from.
        note: a remark for the user, such as the prompt of a search.
        built_in: True for a preset shipped with the extension, False for one of the user's own.
        criterion: what the ratios were found for; a later version's may be unknown here.
        scope: the layers and thresholds that they were found for, as the family tells scopes apart.

    Raises:
        PresetError: a value outside what is said above.
    """

    name: str
    family: Family
    size: Size
    schedule: Schedule
    k: float | None = None
    checkpoints: frozenset[str] = frozenset()
    limited: bool = False
    native: bool = False
    source: str = ""
    note: str = ""
    built_in: bool = False
    criterion: str = DEFAULT_CRITERION
    scope: Scope = Scope()  # noqa: RUF009 (frozen)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", check_name(self.name))
        if self.family == OTHER and not self.limited:
            raise PresetError("A preset for a model of an unknown family must be limited to checkpoints.")
        if not all(MIN_SIDE <= side <= MAX_SIDE for side in (self.size.height, self.size.width)):
            raise PresetError(f"A preset's size must have {MIN_SIDE} to {MAX_SIDE} pixels a side, not {self.size}.")
        if self.schedule.is_constant and self.schedule.has_own_k:
            object.__setattr__(self, "k", self.schedule.stages[0].k)
            object.__setattr__(self, "schedule", Schedule.constant(self.schedule.first))
        if self.k is not None:
            object.__setattr__(self, "k", read_k(Value(self.k, "the preset's k")))
        for sha256 in self.checkpoints:
            Value(sha256, "the preset's checkpoint").sha256()
        if self.limited and not self.checkpoints:
            raise PresetError("A preset limited to checkpoints must name at least one.")
        Value(self.note, "the preset's note").note()
        Value(self.criterion, "the preset's criterion").line()
        object.__setattr__(self, "scope", self.scope.within(self.family))

    @property
    def ratios(self) -> Ratios:
        """The ratios of the first step; of a constant schedule, those of every step."""
        return self.schedule.first

    @property
    def use(self) -> str:
        """What it is for, such as "SDXL, 640x832 (height x width)"."""
        scope = " of one checkpoint" if self.limited else ""
        return f"{self.family.label}, {self.size}{self.size.order}{scope}"

    @classmethod
    def own(
        cls,
        name: str,
        family: Family,
        size: Size,
        ratios: Ratios | Schedule,
        k: float | None = None,
        checkpoint_sha256: str | None = None,
        note: str = "",
        limited: bool = True,
        criterion: str = DEFAULT_CRITERION,
        scope: Scope = Scope(),  # noqa: B008 (frozen)
    ) -> Preset:
        """A preset of the user's.

        Args:
            name: see Preset, as all that follow.
            family: the checkpoint family.
            size: image size in pixels.
            ratios: share of the weights pruned in each group, at every step or over the steps.
            k: pruned output amplification.
            checkpoint_sha256: the checkpoint the ratios were found on, None if not known.
            note: a remark.
            limited: whether it serves that checkpoint only, or the family as well.
            criterion: what the ratios were found for.
            scope: the same.

        Raises:
            PresetError: a value outside what Preset allows.
        """
        checkpoints = frozenset([checkpoint_sha256.strip().lower()]) if checkpoint_sha256 else frozenset()
        schedule = ratios if isinstance(ratios, Schedule) else Schedule.constant(ratios)
        limited = limited and bool(checkpoints)
        return cls(
            name, family, size, schedule, k, checkpoints, limited=limited, note=note, criterion=criterion, scope=scope
        )  # fmt: skip


def same_use(preset: Preset, other: Preset) -> bool:
    """Whether two presets are for the same criterion, layers, threshold, family, size and checkpoints."""
    keys = [(one.criterion, one.scope, one.family, one.size, one.limited) for one in (preset, other)]
    if keys[0] != keys[1]:
        return False
    return not preset.limited or not preset.checkpoints.isdisjoint(other.checkpoints)


@dataclass(frozen=True)
class LoadedPresets:
    """What could be loaded, and one sentence about each thing that could not."""

    presets: tuple[Preset, ...] = ()
    problems: tuple[str, ...] = ()


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


def load_file(path: Path) -> tuple[Preset, ...]:
    """The built-in presets of one family file.

    Raises:
        PresetError: the file cannot be read or has a fault; one sentence names the file and the key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PresetError(f"{path.name}: the file cannot be read ({error.strerror or error}).") from None
    document = parse_document(data, path.name)
    entries = document.entries(("family", "source", "checkpoints", "presets"), optional=("$schema",))
    if "$schema" in entries:
        entries["$schema"].line()
    family = read_family(entries["family"])
    source = entries["source"].line()
    base = _read_base_checkpoints(entries["checkpoints"])
    presets: list[Preset] = []
    for value in entries["presets"].items(at_least=1):
        preset = _read_preset(value, family, source, base)
        for other in presets:
            if clash := _clash(preset, other):
                raise value.refusal(clash)
        presets.append(preset)
    return tuple(presets)


def load_folder(folder: Path) -> LoadedPresets:
    """The built-in presets of every family file in ``folder``.

    A file with a fault is left out and reported; the others are kept. Never raises for what the folder holds.
    """
    presets: list[Preset] = []
    problems: list[str] = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.name != _SCHEMA_FILE)
    except OSError as error:
        return LoadedPresets(problems=(f"{folder.name}: the folder cannot be read ({error.strerror or error}).",))
    for path in paths:
        try:
            found = load_file(path)
            _refuse_clashes(path.name, found, presets)
        except PresetError as error:
            problems.append(str(error))
        else:
            presets.extend(found)
    return LoadedPresets(tuple(presets), tuple(problems))


def _read_base_checkpoints(value: Value) -> frozenset[str]:
    checkpoints: set[str] = set()
    for item in value.items():
        entries = item.entries(("sha256", "name", "source"))
        entries["name"].line()
        entries["source"].line()
        sha256 = entries["sha256"].sha256()
        if sha256 in checkpoints:
            raise entries["sha256"].refusal("is listed twice")
        checkpoints.add(sha256)
    return frozenset(checkpoints)


def _read_preset(value: Value, family: Family, source: str, base: frozenset[str]) -> Preset:
    entries = value.entries(("size", "ratios"), optional=_OPTIONAL)
    size = read_size(entries["size"])
    limited = "checkpoints" in entries
    if limited and "name" not in entries:
        raise value.refusal("has checkpoints of its own and lacks the key 'name'")
    checkpoints = base
    if limited:
        listed = [item.sha256() for item in entries["checkpoints"].items(at_least=1)]
        checkpoints = frozenset(listed)
        if len(checkpoints) < len(listed):
            raise entries["checkpoints"].refusal("lists a checkpoint twice")
    return Preset(
        name=entries["name"].name() if "name" in entries else f"{family.label} {size}",
        family=family,
        size=size,
        schedule=read_schedule(entries["ratios"]),
        k=read_k(entries["k"]) if "k" in entries else None,
        checkpoints=checkpoints,
        limited=limited,
        native=entries["native"].flag() if "native" in entries else False,
        source=entries["source"].line() if "source" in entries else source,
        note=entries["note"].note() if "note" in entries else "",
        built_in=True,
        criterion=read_criterion(entries),
        scope=read_scope(entries),
    )


def _clash(preset: Preset, other: Preset) -> str | None:
    if same(preset.name, other.name):
        return f"has the name {preset.name!r}, which another preset has already"
    if same_use(preset, other):
        return f"has the size {preset.size}, which another preset for the same checkpoints has already"
    return None


def _refuse_clashes(file: str, found: Sequence[Preset], earlier: Sequence[Preset]) -> None:
    for place, preset in enumerate(found):
        for other in earlier:
            if clash := _clash(preset, other):
                raise PresetError(f"{file}: presets[{place}] {clash}, in a file loaded before.")

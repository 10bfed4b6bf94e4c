"""A preset: ratios for an image size, and what they are for."""

from __future__ import annotations

from dataclasses import dataclass

from crdiff.errors import PresetError
from crdiff.method.groups import Ratios
from crdiff.method.schedule import Schedule
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import Scope
from crdiff.presets.document import Value
from crdiff.presets.fields import MAX_SIDE, MIN_SIDE, read_k
from crdiff.presets.names import check_name
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION


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

"""A configuration that a search may try: three ratios and k, in one stage or several.

An axis is named after what it sets in the first stage; with a number behind it, as in ``down2``, it sets that of a
later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, Ratios, check_ratio
from crdiff.method.schedule import Schedule
from crdiff.specs import DEFAULT_K, SPECS

AXES = (*GROUPS, "k")
MAX_STAGES = 4
"""Of a search: each adds axes, and a search over many axes takes many evaluations."""
_DIGITS = 4
_EVEN = 1e-3
"""How far a stage may begin from where stages of the same length do: files may hold rounded fractions."""


def check_k(name: str, value: object) -> float:
    """``value`` if it is a k that can be set."""
    return checks.number(name, value, SPECS["k"].low, SPECS["k"].high)


def axes_of(stage: int, names: Iterable[str] = AXES) -> dict[str, str]:
    """The axes of a stage, counted from 1, by what they set."""
    return {name: name if stage == 1 else f"{name}{stage}" for name in names}


_STAGES = {axis: stage for stage in range(1, MAX_STAGES + 1) for axis in axes_of(stage).values()}


def stage_of(axis: str) -> int:
    """The stage, counted from 1, that an axis belongs to; 0 if there is no such axis."""
    return _STAGES.get(axis, 0)


@dataclass(frozen=True)
class Point:
    """One configuration: the pruning ratios and the amplification, of all steps or of the first stage.

    Attributes:
        down: ratio.
        mid: ratio.
        up: ratio.
        k: amplification.
        later: the further stages, all of the same length as the first; empty if nothing changes over the steps.

    Raises:
        SettingsError: a ratio outside [0, 1), a k outside [-2, 3], or too many stages.
    """

    down: float
    mid: float
    up: float
    k: float = DEFAULT_K
    later: tuple[Point, ...] = ()

    def __post_init__(self) -> None:
        for group in GROUPS:
            object.__setattr__(self, group, check_ratio(group, getattr(self, group)))
        object.__setattr__(self, "k", check_k("k", self.k))
        if len(self.later) >= MAX_STAGES:
            raise SettingsError(f"A configuration of a search has at most {MAX_STAGES} stages.")

    def __getitem__(self, axis: str) -> float:
        """The value of an axis; raises KeyError if there is none."""
        if not 1 <= (stage := stage_of(axis)) <= len(self.stages):
            raise KeyError(axis)
        value: float = getattr(self.stages[stage - 1], axis if stage == 1 else axis[:-1])
        return value

    def __str__(self) -> str:
        rounded = self.rounded
        if not rounded.later:
            return f"{rounded.ratios}, k {checks.exact(rounded.k)}"
        return "; ".join(map(str, rounded.stages))

    @property
    def stages(self) -> tuple[Point, ...]:
        """Each stage as a point of its own."""
        return (replace(self, later=()), *self.later) if self.later else (self,)

    @property
    def ratios(self) -> Ratios:
        """Of the first stage."""
        return Ratios(self.down, self.mid, self.up)

    @property
    def schedule(self) -> Schedule:
        """The ratios over the steps, with the k of every stage where these differ."""
        own_k = self.common_k is None
        return Schedule.even([[*stage.ratios, *[stage.k] * own_k] for stage in self.stages])

    @property
    def common_k(self) -> float | None:
        """The k of all stages; None where these differ."""
        return self.k if all(stage.k == self.k for stage in self.later) else None

    @property
    def settings(self) -> dict[str, float | str | None]:
        """What draws it, by the names in ``Settings``; k is None where every stage has its own."""
        one = self.rounded.merged
        ratios = {group: one[group] for group in GROUPS}
        return {**ratios, "k": one.common_k, "stages": str(one.schedule) if one.later else ""}

    @property
    def is_dense(self) -> bool:
        """Whether it draws what the model as it is draws."""
        return not any(stage.k and any(stage.ratios) for stage in self.stages)

    @property
    def rounded(self) -> Point:
        """This point as it is drawn, saved and applied: in the digits at which two points are told apart."""
        highest = 1.0 - 10.0**-_DIGITS
        values: dict[str, Any] = {
            axis: round(min(self[axis], highest) if axis in GROUPS else self[axis], _DIGITS) for axis in AXES
        }
        return Point(**values, later=tuple(stage.rounded for stage in self.later))

    def moved(self, axis: str, value: float) -> Point:
        """This point with another value on one axis."""
        stage = stage_of(axis)
        own: dict[str, Any] = {axis if stage == 1 else axis[:-1]: value}
        if stage == 1:
            return replace(self, **own)
        later = list(self.later)
        later[stage - 2] = replace(later[stage - 2], **own)
        return replace(self, later=tuple(later))

    def in_stages(self, count: int) -> Point:
        """This point in so many stages; each is what is in force in its middle."""
        found = [self.stages[int((place + 0.5) / count * len(self.stages))] for place in range(count)]
        return replace(found[0], later=tuple(found[1:]))

    @property
    def merged(self) -> Point:
        """This point without its later stages where they are the same as the first."""
        return self if any(one != other for one, other in pairwise(self.stages)) else self.stages[0]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON: an object with the four axes, or with ``stages``, a list as the API's setting has it."""
        if not self.later:
            return {axis: self[axis] for axis in AXES}
        return {"stages": Schedule.even([(*stage.ratios, stage.k) for stage in self.stages]).to_json()}

    @classmethod
    def of(cls, ratios: Ratios, k: float) -> Point:
        """The point of these ratios and k."""
        return cls(ratios.down, ratios.mid, ratios.up, k)

    @classmethod
    def of_axes(cls, values: Mapping[str, Any], stages: int) -> Point:
        """The point of so many stages; where these have no value of their own, they have the first one's."""
        first = {axis: values[axis] for axis in AXES}
        named = [axes_of(stage).items() for stage in range(2, stages + 1)]
        later = [cls(**{name: values.get(axis, first[name]) for name, axis in axes}) for axes in named]
        return cls(first["down"], first["mid"], first["up"], first["k"], tuple(later))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Point:
        """The inverse of ``to_dict``."""
        if set(values) == {"stages"}:
            return cls._from_stages(values["stages"])
        if set(values) != set(AXES):
            raise SettingsError(
                f"A configuration has the keys {', '.join(AXES)}, or stages, not {', '.join(map(str, values))}."
            )
        return cls(**values)

    @classmethod
    def _from_stages(cls, content: object) -> Point:
        if isinstance(content, (str, bytes, Mapping)) or not isinstance(content, Sequence):
            raise SettingsError(f"The stages of a configuration must be a list, not {checks.shown(content)}.")
        stages = Schedule.from_json(content).stages
        if any(abs(stage.start - place / len(stages)) > _EVEN for place, stage in enumerate(stages)):
            raise SettingsError("The stages of a configuration that is searched must all be of the same length.")
        if any(stage.k is None for stage in stages):
            raise SettingsError("Each stage of a configuration must have a k.")
        first, *later = [cls.of(stage.ratios, DEFAULT_K if stage.k is None else stage.k) for stage in stages]
        return replace(first, later=tuple(later))


DENSE = Point(0.0, 0.0, 0.0, 0.0)
START = Point(0.3, 0.3, 0.3)
"""Where the authors' search starts."""
PAPER_K = 1.0
"""The k of the authors' trials: images of the pruned model alone."""


Signature = Callable[[Point], str]
"""A text that is the same for configurations that draw the same images."""


def rounded(point: Point) -> str:
    """The ratios and k to four decimals, as the authors' code tells configurations apart; of each stage."""
    return _once(["/".join(f"{stage[axis]:.{_DIGITS}f}" for axis in AXES) for stage in point.stages])


def _once(stages: Sequence[str]) -> str:
    """The texts of the stages as one; that of the first if all are the same."""
    return stages[0] if len(set(stages)) == 1 else ";".join(stages)


def by_pruned_counts(weights: Mapping[str, int]) -> Signature:
    """A signature by the number of weights pruned, int(n * ratio) of each group's n (method: paper 3.3).

    Configurations that prune nothing, or have k = 0, are all the dense model.
    """

    def of_stage(stage: Point) -> str:
        counts = [int(weights[group] * stage[group]) for group in GROUPS]
        if stage.k == 0.0 or not any(counts):
            return "dense"
        return "/".join([*map(str, counts), f"{stage.k:.{_DIGITS}f}"])

    def signature(point: Point) -> str:
        return _once(list(map(of_stage, point.stages)))

    return signature

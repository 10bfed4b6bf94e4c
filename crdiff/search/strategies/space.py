"""Where a search stays: each axis free within bounds, or held fixed.

What a later stage has no axis of its own for, it has as the first stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, check_ratio
from crdiff.search.strategies.point import AXES, MAX_STAGES, PAPER_K, START, Point, axes_of, check_k, stage_of

RATIO_BOUNDS = (0.1, 0.8)
K_BOUNDS = (1.0, 2.5)
_K_STEP = 2.0


@dataclass(frozen=True)
class Space:
    """The box a search stays in.

    Attributes:
        bounds: (low, high) of each axis that is varied; by default the authors' [0.1, 0.8] for the three ratios.
        fixed: has the values of the axes that are not varied, the same in all stages; what it says of the others is of
            no account.

    Raises:
        SettingsError: an unknown axis, no axis to vary, bounds the wrong way round or outside an axis' own range.
    """

    bounds: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(GROUPS, RATIO_BOUNDS))
    fixed: Point = START

    def __post_init__(self) -> None:
        for axis in self.bounds:
            if not stage_of(axis):
                raise SettingsError(f"A search can vary {', '.join(AXES)}, not {checks.shown(axis)}.")
        if not self.bounds:
            raise SettingsError(f"A search needs something to vary: {', '.join(AXES)}.")
        order = [axis for stage in range(1, MAX_STAGES + 1) for axis in axes_of(stage).values()]
        checked = {axis: _check_bounds(axis, self.bounds[axis]) for axis in order if axis in self.bounds}
        object.__setattr__(self, "bounds", checked)

    @classmethod
    def vary(
        cls,
        axes: Iterable[str] = GROUPS,
        *,
        fixed: Point,
        ratios: tuple[float, float] = RATIO_BOUNDS,
        k: tuple[float, float] = K_BOUNDS,
        stages: int = 1,
        k_by_stage: bool = False,
    ) -> Space:
        """The space in which ``axes`` are free between ``ratios`` or ``k``, and the others stay as in ``fixed``.

        Args:
            axes: what is varied, of down, mid, up and k.
            fixed: see Space.
            ratios: bounds.
            k: bounds, where it is varied.
            stages: of equal length, in each of which the ratios are free; 1 to 4.
            k_by_stage: whether k is so too; else it is the same in all of them.
        """
        checks.integer("The stages of a search", stages, 1, MAX_STAGES)
        bounds = {axis: k if axis == "k" else ratios for axis in axes}
        by_stage = [axis for axis in bounds if axis in GROUPS or (axis == "k" and k_by_stage)]
        if stages > 1 and not by_stage:
            raise SettingsError("A search over stages needs something to vary in them: a ratio, or k by stage.")
        for stage in range(2, stages + 1):
            bounds |= {own: bounds[axis] for axis, own in axes_of(stage, by_stage).items()}
        return cls(bounds, fixed)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that are varied."""
        return tuple(self.bounds)

    @property
    def stages(self) -> int:
        """Of the configurations."""
        return max(map(stage_of, self.bounds))

    @property
    def held(self) -> dict[str, Any]:
        """The axes of the first stage that are not varied, and their values."""
        return {axis: self.fixed[axis] for axis in AXES if axis not in self.bounds}

    @property
    def held_away_from_start(self) -> dict[str, float]:
        """What is held elsewhere than at the authors' start and k, which tells the journals of two searches apart."""
        usual = START.moved("k", PAPER_K)
        return {axis: value for axis, value in self.held.items() if value != usual[axis]}

    def same_in_other_stages(self, axis: str) -> tuple[str, ...]:
        """The axes that vary the same in other stages."""
        name = axis if axis in AXES else axis[:-1]
        every = [axes_of(stage)[name] for stage in range(1, self.stages + 1)]
        return tuple(one for one in every if one in self.bounds and one != axis)

    def hold(self, point: Point) -> Point:
        """The configuration with the axes that are not varied at their fixed values."""
        return replace(point, **self.held, later=tuple(map(self.hold, point.later)))

    def step(self, axis: str) -> float:
        """How far a neighbour's step goes on this axis, relative to a ratio's (k's range is wider)."""
        return _K_STEP if axis.startswith("k") else 1.0

    def clip(self, point: Point) -> Point:
        """The nearest configuration inside: free axes at their bounds at most, the others at their fixed values."""
        inside = point.in_stages(self.stages)
        return self._made({axis: min(high, max(low, inside[axis])) for axis, (low, high) in self.bounds.items()})

    def at(self, fractions: Sequence[float]) -> Point:
        """The configuration at fractions in [0, 1] of the free axes, in the order of ``axes``."""
        free = {
            axis: low + (high - low) * fraction
            for (axis, (low, high)), fraction in zip(self.bounds.items(), fractions, strict=True)
        }
        return self.clip(self._made(free))

    def _made(self, free: Mapping[str, float]) -> Point:
        return Point.of_axes({**{axis: self.fixed[axis] for axis in AXES}, **free}, self.stages)

    def to_dict(self) -> dict[str, Any]:
        return {"bounds": {axis: list(pair) for axis, pair in self.bounds.items()}, "fixed": self.held}


def _check_bounds(axis: str, pair: object) -> tuple[float, float]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise SettingsError(f"The bounds of {axis} must be two numbers, low and high, not {checks.shown(pair)}.")
    check = check_k if axis.startswith("k") else check_ratio
    low, high = (check(f"The {end} bound of {axis}", value) for end, value in zip(("lower", "upper"), pair))
    if not low < high:
        raise SettingsError(f"The lower bound of {axis} ({low:g}) must be less than the upper one ({high:g}).")
    return low, high

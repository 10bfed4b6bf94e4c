"""The configurations a search may try: three ratios and k, each free within bounds or held fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from crdiff import checks
from crdiff.errors import SettingsError
from crdiff.method.groups import GROUPS, Ratios, check_ratio
from crdiff.settings import DEFAULT_K, SPECS

AXES = (*GROUPS, "k")
RATIO_BOUNDS = (0.1, 0.8)
K_BOUNDS = (1.0, 2.5)
_K_STEP = 2.0
_DIGITS = 4


def check_k(name: str, value: object) -> float:
    """``value`` if it is a k that can be set."""
    return checks.number(name, value, SPECS["k"].low, SPECS["k"].high)


@dataclass(frozen=True)
class Point:
    """One configuration: the pruning ratios and the amplification.

    Raises:
        SettingsError: a ratio outside [0, 1), or a k outside [-2, 3].
    """

    down: float
    mid: float
    up: float
    k: float = DEFAULT_K

    def __post_init__(self) -> None:
        for group in GROUPS:
            object.__setattr__(self, group, check_ratio(group, getattr(self, group)))
        object.__setattr__(self, "k", check_k("k", self.k))

    def __getitem__(self, axis: str) -> float:
        if axis not in AXES:
            raise KeyError(axis)
        value: float = getattr(self, axis)
        return value

    def __str__(self) -> str:
        return f"{self.rounded.ratios}, k {checks.exact(self.rounded.k)}"

    @property
    def ratios(self) -> Ratios:
        return Ratios(self.down, self.mid, self.up)

    @property
    def rounded(self) -> Point:
        """This point as it is drawn, saved and applied: in the digits at which two points are told apart."""
        highest = 1.0 - 10.0**-_DIGITS
        return Point(
            **{axis: round(min(self[axis], highest) if axis in GROUPS else self[axis], _DIGITS) for axis in AXES}
        )

    def moved(self, axis: str, value: float) -> Point:
        """This point with another value on one axis."""
        return replace(self, **{axis: value})

    def to_dict(self) -> dict[str, float]:
        return {axis: self[axis] for axis in AXES}

    @classmethod
    def of(cls, ratios: Ratios, k: float) -> Point:
        """The point of these ratios and k."""
        return cls(ratios.down, ratios.mid, ratios.up, k)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Point:
        """The point of a JSON object with the four axes as keys."""
        if set(values) != set(AXES):
            raise SettingsError(f"A configuration has the keys {', '.join(AXES)}, not {', '.join(map(str, values))}.")
        return cls(**values)


DENSE = Point(0.0, 0.0, 0.0, 0.0)
START = Point(0.3, 0.3, 0.3)
"""Where the authors' search starts."""
PAPER_K = 1.0
"""The k of the authors' trials: images of the pruned model alone."""


@dataclass(frozen=True)
class Space:
    """The box a search stays in.

    Attributes:
        bounds: (low, high) of each axis that is varied; by default the authors' [0.1, 0.8] for the three ratios.
        fixed: has the values of the axes that are not varied; what it says of the others is of no account.

    Raises:
        SettingsError: an unknown axis, no axis to vary, bounds the wrong way round or outside an axis' own range.
    """

    bounds: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict.fromkeys(GROUPS, RATIO_BOUNDS))
    fixed: Point = START

    def __post_init__(self) -> None:
        for axis in self.bounds:
            if axis not in AXES:
                raise SettingsError(f"A search can vary {', '.join(AXES)}, not {checks.shown(axis)}.")
        if not self.bounds:
            raise SettingsError(f"A search needs something to vary: {', '.join(AXES)}.")
        checked = {axis: _check_bounds(axis, self.bounds[axis]) for axis in AXES if axis in self.bounds}
        object.__setattr__(self, "bounds", checked)

    @classmethod
    def vary(
        cls,
        axes: Iterable[str] = GROUPS,
        *,
        fixed: Point,
        ratios: tuple[float, float] = RATIO_BOUNDS,
        k: tuple[float, float] = K_BOUNDS,
    ) -> Space:
        """The space in which ``axes`` are free between ``ratios`` or ``k``, and the others stay as in ``fixed``."""
        return cls({axis: k if axis == "k" else ratios for axis in axes}, fixed)

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that are varied."""
        return tuple(self.bounds)

    @property
    def held(self) -> dict[str, float]:
        """The axes that are not varied, and their values."""
        return {axis: self.fixed[axis] for axis in AXES if axis not in self.bounds}

    @property
    def held_away_from_start(self) -> dict[str, float]:
        """What is held elsewhere than at the authors' start and k, which tells the journals of two searches apart."""
        usual = START.moved("k", PAPER_K)
        return {axis: value for axis, value in self.held.items() if value != usual[axis]}

    def hold(self, point: Point) -> Point:
        """The configuration with the axes that are not varied at their fixed values."""
        return replace(point, **self.held)

    def step(self, axis: str) -> float:
        """How far a neighbour's step goes on this axis, relative to a ratio's (k's range is wider)."""
        return _K_STEP if axis == "k" else 1.0

    def clip(self, point: Point) -> Point:
        """The nearest configuration inside: free axes at their bounds at most, the others at their fixed values."""
        free = {axis: min(high, max(low, point[axis])) for axis, (low, high) in self.bounds.items()}
        return replace(self.fixed, **free)

    def at(self, fractions: Sequence[float]) -> Point:
        """The configuration at fractions in [0, 1] of the free axes, in the order of ``axes``."""
        free = {
            axis: low + (high - low) * fraction
            for (axis, (low, high)), fraction in zip(self.bounds.items(), fractions, strict=True)
        }
        return self.clip(replace(self.fixed, **free))

    def to_dict(self) -> dict[str, Any]:
        return {"bounds": {axis: list(pair) for axis, pair in self.bounds.items()}, "fixed": self.held}


def _check_bounds(axis: str, pair: object) -> tuple[float, float]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise SettingsError(f"The bounds of {axis} must be two numbers, low and high, not {checks.shown(pair)}.")
    check = check_k if axis == "k" else check_ratio
    low, high = (check(f"The {end} bound of {axis}", value) for end, value in zip(("lower", "upper"), pair))
    if not low < high:
        raise SettingsError(f"The lower bound of {axis} ({low:g}) must be less than the upper one ({high:g}).")
    return low, high


Signature = Callable[[Point], str]
"""A text that is the same for configurations that draw the same images."""


def rounded(point: Point) -> str:
    """The ratios and k to four decimals, as the authors' code tells configurations apart."""
    return "/".join(f"{point[axis]:.{_DIGITS}f}" for axis in AXES)


def by_pruned_counts(weights: Mapping[str, int]) -> Signature:
    """A signature by the number of weights pruned, int(n * ratio) of each group's n (method: paper 3.3).

    Configurations that prune nothing, or have k = 0, are all the dense model.
    """

    def signature(point: Point) -> str:
        counts = [int(weights[group] * point[group]) for group in GROUPS]
        if point.k == 0.0 or not any(counts):
            return "dense"
        return "/".join([*map(str, counts), f"{point.k:.{_DIGITS}f}"])

    return signature

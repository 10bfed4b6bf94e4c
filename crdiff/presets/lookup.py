"""Choice of the pruning ratios for a checkpoint and an image size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from crdiff.method.groups import GROUPS, Ratios
from crdiff.method.schedule import MAX_STAGES, Schedule, Stage
from crdiff.models.family import OTHER, Family
from crdiff.models.scope import Scope
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.registry import DEFAULT_CRITERION

_NEAREST = 3
_DIGITS = 3
_NEAR_TIE = 1.25
_NAMED_IN_PHRASE = 3
_NEGLIGIBLE_WEIGHT = 0.01
_AT_THE_EDGE = math.log(1.1)
_FAR = math.log(4.0)


class How(str, Enum):
    """The way a look-up came to its ratios, best first."""

    EXACT_CHECKPOINT = "exact checkpoint"
    FAMILY = "family"
    TRANSPOSED = "transposed"
    INTERPOLATED = "interpolated"
    UNIFORM = "uniform"


@dataclass(frozen=True)
class Match:
    """Ratios for a size, and where they come from.

    Attributes:
        size: the size that was asked for.
        schedule: the ratios to prune with, over the steps.
        k: pruned output amplification that belongs to them; None leaves it to the user.
        how: the way they were found.
        used: the presets they come from, each with its weight; the weights are positive, sum to 1 and fall. None where
            the ratios are uniform.
        estimated: True if no preset was found at this size, turned or not.
        beyond: how far the size lies outside the presets' range of areas and aspects, as the logarithm of a factor.
        family: of the model, where the ratios are uniform.
    """

    size: Size
    schedule: Schedule
    k: float | None
    how: How
    used: tuple[tuple[Preset, float], ...]
    estimated: bool
    beyond: float = 0.0
    family: Family = OTHER

    @property
    def ratios(self) -> Ratios:
        """The ratios of the first step; of a constant schedule, those of every step."""
        return self.schedule.first

    def describe(self) -> str:
        """A short phrase for the user, such as "preset for SDXL, 512x512"."""
        if self.how is How.UNIFORM:
            start = f"so {self.family.first_guess:g} for all blocks"
            if self.family.transformer:
                return f"no preset has been published for {self.family.label}, {start}; a search finds better ones"
            return f"no ratios have been found for this criterion and threshold yet, {start}"
        preset = self.used[0][0]
        if self.how is How.INTERPOLATED:
            near = "of" if self.beyond < _FAR else "anywhere near"
            return f"no preset {near} this size, {self._interpolation_phrase()}"
        if preset.built_in:
            owner = "this checkpoint" if self.how is How.EXACT_CHECKPOINT else preset.family.label
            phrase = f"preset for {owner}, {preset.size}{preset.size.order}"
        else:
            phrase = f"own preset '{preset.name}'"
        return f"{phrase}, turned" if self.how is How.TRANSPOSED else phrase

    def _interpolation_phrase(self) -> str:
        used = [preset for preset, weight in self.used if weight >= _NEGLIGIBLE_WEIGHT]
        how = "interpolated from" if self.beyond < _AT_THE_EDGE else "extrapolated from"
        if len(used) == 1:
            how = "taken from the nearest," if self.beyond < _AT_THE_EDGE else how
            return f"{how} {_named(used[0])}{used[0].size.order}"
        shown = used if len(used) <= _NAMED_IN_PHRASE else used[:_NAMED_IN_PHRASE]
        named = [_named(preset) for preset in shown]
        if len(used) > len(shown):
            named.append(f"{len(used) - len(shown)} more")
        order = next((preset.size.order for preset in shown if preset.size.order), "")
        return f"{how} {', '.join(named[:-1])} and {named[-1]}{order}"


def _named(preset: Preset) -> str:
    """A preset of the list that a size was interpolated from; no size is told twice."""
    if preset.built_in:
        return str(preset.size)
    return f"own preset '{preset.name}'" + ("" if str(preset.size) in preset.name else f" {preset.size}")


def uniform(size: Size, family: Family) -> Match:
    """Where a search would start, for a family, a criterion or a scope that no ratios have been found for."""
    schedule = Schedule.constant(Ratios(*[family.first_guess] * len(GROUPS)))
    return Match(size, schedule, None, How.UNIFORM, (), estimated=True, family=family)


def look_up(
    presets: Sequence[Preset],
    family: Family,
    checkpoint_sha256: str | None,
    size: Size,
    criterion: str = DEFAULT_CRITERION,
    scope: Scope = Scope(),  # noqa: B008 (frozen)
) -> Match | None:
    """The ratios for a checkpoint and an image size; None if ``presets`` has none for the family, criterion and scope.

    A preset for the checkpoint at the size comes first, then one for the family at the size, then either for the
    turned size, then an interpolation flagged as estimated. Among presets for the same key the user's own come
    before the built-in ones, and later ones in ``presets`` before earlier ones.

    Args:
        presets: built-in and own presets, in any order.
        family: the checkpoint's family; OTHER has only presets that are limited to a checkpoint.
        checkpoint_sha256: SHA-256 of the checkpoint file in hexadecimal; None if not known.
        size: image size in pixels.
        criterion: what the ratios are to be used with; those found for another are not looked at.
        scope: the same.
    """
    wanted_for = criterion, scope.within(family)
    presets = [preset for preset in presets if (preset.criterion, preset.scope) == wanted_for]
    sha256 = checkpoint_sha256.strip().lower() if checkpoint_sha256 else None
    best = _best_by_size(presets, family, sha256)
    if not best:
        return None
    for wanted in (size, size.transposed):
        preset = best.get(wanted)
        if preset is None:
            continue
        exact = sha256 in preset.checkpoints
        how = How.TRANSPOSED if wanted != size else How.EXACT_CHECKPOINT if exact else How.FAMILY
        return Match(size, preset.schedule, preset.k, how, ((preset, 1.0),), estimated=False)
    return _interpolate(tuple(best.values()), size)


def _best_by_size(presets: Sequence[Preset], family: Family, sha256: str | None) -> dict[Size, Preset]:
    best: dict[Size, tuple[tuple[bool, bool, int], Preset]] = {}
    for place, preset in enumerate(presets):
        exact = sha256 in preset.checkpoints
        if preset.family != family or (preset.limited and not exact):
            continue
        rank = (exact, not preset.built_in, place)
        if preset.size not in best or best[preset.size][0] < rank:
            best[preset.size] = (rank, preset)
    return {size: preset for size, (_, preset) in best.items()}


def _point(size: Size) -> tuple[float, float]:
    # Long over short side rather than |log(width / height)|: the same bits for a size and its transpose.
    long, short = max(size.height, size.width), min(size.height, size.width)
    return size.log_area, math.log(long / short)


def _interpolate(presets: tuple[Preset, ...], size: Size) -> Match:
    """Inverse distance weighting of the nearest presets in the plane of log area and absolute log aspect.

    Euclidean distance there is, up to a factor, that of log height and log width, so that area and aspect need no
    scale between them. The weights 1/d - 1/R (Franke and Little's form of Shepard's method) are linear
    interpolation between two presets on a line, need no triangulation of a table that grows with the user's
    presets, and are continuous: a preset fades out before it leaves the neighbourhood. R is the distance of the
    fourth nearest preset, so that three count, and more only where the fourth is about as near as the first.
    Beyond the table's smallest and largest area and its largest aspect, the size counts as the nearest one within.
    """
    nodes: dict[tuple[float, float], list[Preset]] = {}
    for preset in sorted(presets, key=lambda preset: preset.size):
        nodes.setdefault(_point(preset.size), []).append(preset)
    asked_area, asked_aspect = _point(size)
    area = min(max(asked_area, min(point[0] for point in nodes)), max(point[0] for point in nodes))
    aspect = min(max(asked_aspect, min(point[1] for point in nodes)), max(point[1] for point in nodes))
    near = sorted((math.hypot(area - point[0], aspect - point[1]), point) for point in nodes)
    weights = _weights([distance for distance, _ in near])
    # A size and its transpose that both have a preset are one node, and share its weight.
    used = [
        (preset, weight / len(nodes[point]))
        for (_, point), weight in zip(near, weights, strict=False)
        for preset in nodes[point]
    ]
    return Match(
        size=size,
        schedule=_mean_schedule(used),
        k=_mean_k([(preset.k, weight) for preset, weight in used]),
        how=How.INTERPOLATED,
        used=tuple(sorted(used, key=lambda share: -share[1])),
        estimated=True,
        beyond=math.hypot(asked_area - area, asked_aspect - aspect),
    )


def _weights(distances: list[float]) -> list[float]:
    """Weights of the nodes within reach, given all distances in rising order; they sum to 1."""
    nearest = distances[0]
    if nearest == 0.0:
        return [1.0]
    reach = math.inf
    if len(distances) > _NEAREST:
        reach = max(distances[_NEAREST], _NEAR_TIE * nearest)
    raw = [1.0 / distance - 1.0 / reach for distance in distances if distance < reach]
    total = math.fsum(raw)
    return [weight / total for weight in raw]


def _mean_schedule(used: list[tuple[Preset, float]]) -> Schedule:
    """A stage wherever one of the presets changes, as far as there is room for all: the nearest presets' come first."""
    nearest = [preset.schedule for preset, _ in sorted(used, key=lambda share: -share[1])]
    starts = list(dict.fromkeys(stage.start for schedule in nearest for stage in schedule.stages))[:MAX_STAGES]
    own_k = any(schedule.has_own_k for schedule in nearest)

    def mean(start: float) -> Stage:
        stages = [(preset, preset.schedule.at(start), weight) for preset, weight in used]
        ratios = {group: _mean([(stage.ratios[group], weight) for _, stage, weight in stages]) for group in GROUPS}
        amplifications = [(preset.k if stage.k is None else stage.k, weight) for preset, stage, weight in stages]
        return Stage(start, Ratios(**ratios), _mean_k(amplifications) if own_k else None)

    return Schedule(tuple(mean(start) for start in sorted(starts)))


def _mean_k(pairs: list[tuple[float | None, float]]) -> float | None:
    """None where one of them leaves it to the user."""
    found = [(k, weight) for k, weight in pairs if k is not None]
    return _mean(found) if len(found) == len(pairs) else None


def _mean(pairs: list[tuple[float, float]]) -> float:
    # To the digits that the paper's tables have and the UI shows, so that typing them in draws the same image;
    # but never out of the range of what it is a mean of.
    values = [value for value, _ in pairs]
    mean = round(math.fsum(value * weight for value, weight in pairs), _DIGITS)
    return min(max(mean, min(values)), max(values))

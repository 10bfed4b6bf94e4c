"""Settings with one ratio for all groups, that nobody had to search for: what a search has to beat."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA, Needs
from crdiff.search.strategies.point import Point
from demo.evaluate.cells import Cell, Key, Measured
from demo.evaluate.criteria import Bench
from demo.scenes.scene import NATIVE

ROUND = 50
"""Captions between two looks whether a setting is worse than the winner."""


@dataclass(frozen=True)
class Uniform:
    """One ratio for all groups.

    Attributes:
        criterion: a name in ``CRITERIA``.
        ratio: of every group.
        k: amplification.
        at_size: whether it is calibrated at the size asked for instead of at the one of training.
    """

    criterion: str
    ratio: float
    k: float = 1.0
    at_size: bool = False

    @property
    def point(self) -> Point:
        return Point(self.ratio, self.ratio, self.ratio, self.k)

    def key(self, size: Size) -> Key:
        """Of its cell."""
        calibrated = ""
        if CRITERIA[self.criterion].needs is not Needs.NOTHING:
            calibrated = str(size) if self.at_size else f"{NATIVE}x{NATIVE}"
        return str(size), self.criterion, calibrated, f"all {self.ratio:g}, k {self.k:g}"


UNIFORM = (
    Uniform("attenuation", 0.2),
    Uniform("attenuation", 0.1, 1.5),
    Uniform("attenuation", 0.15),
    Uniform("attenuation", 0.1),
    Uniform("attenuation", 0.05),
    Uniform("magnitude", 0.5, 2.0),
    Uniform("magnitude", 0.5, 1.5),
    Uniform("magnitude", 0.65),
    Uniform("magnitude", 0.5),
    Uniform("magnitude", 0.3),
    Uniform("magnitude", 0.5, -0.5),
    Uniform("attenuation-outputs", 0.35),
    Uniform("attenuation-outputs", 0.2),
    Uniform("attenuation-outputs", 0.1),
    Uniform("random", 0.1),
    Uniform("random", 0.2),
    Uniform("random", 0.1, 1.5),
    Uniform("random", 0.03),
    Uniform("random", 0.1, -0.5),
    Uniform("wanda", 0.5, at_size=True),
    Uniform("wanda", 0.5),
    Uniform("wanda", 0.5, 1.5),
    Uniform("wanda", 0.3),
    Uniform("wanda", 0.65),
    Uniform("wanda", 0.5, 2.5),
    Uniform("wanda-layer", 0.5),
    Uniform("wanda-group", 0.5),
)
"""Controls of many kinds; attenuation by 0.1 is all weights times 0.9."""
UNIFORM_CRITERIA = tuple(dict.fromkeys(setting.criterion for setting in UNIFORM))


def challenge(bench: Bench, measured: Measured, setting: Uniform, winner: Cell) -> Cell:
    """A setting, judged until it is worse than the winner outside the interval, or on all captions."""
    key = setting.key(Size.parse(winner.size))
    cell = bench.judged(key, setting.point, slice(0, ROUND))
    for start in range(ROUND, measured.protocol.prompts, ROUND):
        lead = measured.gain(winner, cell)
        if lead is not None and lead.low > 0.0:
            break
        more = bench.judged(key, setting.point, slice(start, start + ROUND))
        cell = replace(cell, right=cell.right + more.right, scores=cell.scores + more.scores)
    return cell

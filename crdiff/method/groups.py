"""The three pruning ratios, one for each group of UNet blocks (paper 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from crdiff.checks import exact, number, shown
from crdiff.errors import SettingsError

GROUPS = ("down", "mid", "up")


def check_ratio(name: str, value: object) -> float:
    """``value`` as a float in [0, 1); raises SettingsError naming ``name`` otherwise."""
    return number(name, value, 0.0, 1.0, high_open=True)


@dataclass(frozen=True)
class Ratios:
    """Share of the weights pruned in the down, mid and up group, each in [0, 1).

    Raises:
        SettingsError: a ratio is no number, not finite, or outside [0, 1).
    """

    down: float = 0.0
    mid: float = 0.0
    up: float = 0.0

    def __post_init__(self) -> None:
        for group in GROUPS:
            object.__setattr__(self, group, check_ratio(group, getattr(self, group)))

    def __iter__(self) -> Iterator[float]:
        return iter((self.down, self.mid, self.up))

    def __getitem__(self, group: str) -> float:
        if group not in GROUPS:
            raise KeyError(group)
        value: float = getattr(self, group)
        return value

    def __str__(self) -> str:
        return "/".join(exact(ratio) for ratio in self)

    @classmethod
    def parse(cls, text: str) -> Ratios:
        """Ratios from ``"down/mid/up"``, such as ``"0.397/0.434/0.387"``; the inverse of ``str``."""
        parts = text.split("/")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        if len(numbers) != len(GROUPS):
            raise SettingsError(f"Ratios are written down/mid/up, such as 0.397/0.434/0.387, not {shown(text)}.")
        return cls(*numbers)

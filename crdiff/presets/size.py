"""Image sizes. Height comes first, as in the paper."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from crdiff.checks import shown
from crdiff.errors import PresetError


@dataclass(frozen=True, order=True)
class Size:
    """An image size in pixels."""

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height <= 0 or self.width <= 0:
            raise PresetError(f"A size needs a positive height and width, not {self.height}x{self.width}.")

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> Size:
        """A size from ``"HEIGHTxWIDTH"``, such as ``"400x560"``."""
        match = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text)
        if match is None:
            raise PresetError(f"A size is written HEIGHTxWIDTH, such as 400x560, not {shown(text)}.")
        return cls(int(match[1]), int(match[2]))

    @property
    def order(self) -> str:
        """What follows a size that is no square where users read it, for WebUIs write width x height."""
        return "" if self.height == self.width else " (height x width)"

    @property
    def transposed(self) -> Size:
        """The same image turned by 90 degrees."""
        return Size(self.width, self.height)

    def with_aspect(self, other: Size) -> Size:
        """About this area with about the aspect of another size, in the multiples of 64 that models are trained at."""
        height = math.sqrt(self.height * self.width * other.height / other.width)
        return Size(*(max(64, round(side / 64) * 64) for side in (height, height * other.width / other.height)))

    @property
    def log_area(self) -> float:
        """Natural logarithm of the number of pixels."""
        return math.log(self.height * self.width)

    @property
    def log_aspect(self) -> float:
        """Natural logarithm of width / height; 0 for a square."""
        return math.log(self.width / self.height)

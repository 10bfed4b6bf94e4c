"""A calibration as it is asked for by the page or the API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crdiff import checks
from crdiff.calibration.hessians import DIAGONALS, HESSIANS, NO_HESSIANS
from crdiff.errors import SettingsError
from crdiff.presets.fields import MIN_SIDE
from crdiff.presets.size import Size
from crdiff.webui.jobs.request import from_dict, from_text

KIND = "calibration"
SCRIPT_TITLE = "CR-Diff calibration"
"""The title of the script that calibrates, by which the page and the API choose it."""

IMAGES = 16
NEUTRAL, TAB = "neutral", "tab"
"""The shipped prompts, and the job's own prompt."""
_MOST_IMAGES = 10_000
_MOST_PIXELS = 4096
_CELL = 8
_HIGHEST_SEED = 2**32 - 1


@dataclass(frozen=True)
class CalibrationRequest:
    """A calibration as the user wants it, validated.

    Attributes:
        prompts: neutral, tab, or a list of texts; each image takes the next one.
        images: to draw.
        size: HEIGHTxWIDTH; None takes the size the family was trained at.
        hessians: one of ``HESSIANS``, as criteria need; true stands for diagonals, false for none.
        seed: of the first image; each further one's is one more.
        gradients: whether those of the denoising loss are gathered, which taylor needs.

    Raises:
        SettingsError: naming the key that cannot be used.
    """

    prompts: str | tuple[str, ...] = NEUTRAL
    images: int = IMAGES
    size: str | None = None
    hessians: str = NO_HESSIANS
    seed: int = 1
    gradients: bool = False

    def __post_init__(self) -> None:
        checks.integer("images of a calibration", self.images, 1, _MOST_IMAGES)
        checks.integer("seed of a calibration", self.seed, 0, _HIGHEST_SEED)
        checks.flag("gradients of a calibration", self.gradients)
        object.__setattr__(self, "hessians", _hessians(self.hessians))
        object.__setattr__(self, "prompts", _prompts(self.prompts))
        if self.size is not None:
            object.__setattr__(self, "size", str(_size(self.size)))

    @property
    def pixels(self) -> Size | None:
        """The size; None if it follows from the family."""
        return None if self.size is None else Size.parse(self.size)

    @classmethod
    def from_dict(cls, values: Any) -> CalibrationRequest:
        """The request of a JSON object in which every key is optional."""
        return from_dict(cls, KIND, values)

    @classmethod
    def from_text(cls, text: str | None) -> CalibrationRequest:
        """The request of a JSON text; an empty one is all defaults."""
        return from_text(cls, KIND, text)

    def to_text(self) -> str:
        """The request as JSON."""
        return json.dumps(asdict(self))


def _prompts(value: Any) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return checks.choice("prompts of a calibration", value, (NEUTRAL, TAB))
    if not isinstance(value, Sequence) or not value or not all(isinstance(text, str) for text in value):
        raise SettingsError(
            f"prompts of a calibration must be {NEUTRAL}, {TAB} or a list of texts, not {checks.shown(value)}."
        )
    return tuple(value)


def _hessians(value: Any) -> str:
    if isinstance(value, bool):
        return DIAGONALS if value else NO_HESSIANS
    return checks.choice("hessians of a calibration", value, HESSIANS)


def _size(value: Any) -> Size:
    if not isinstance(value, str):
        raise SettingsError(f"size of a calibration must be a text such as 512x512, not {checks.shown(value)}.")
    size = Size.parse(value)
    sides = (size.height, size.width)
    if not all(MIN_SIDE <= side <= _MOST_PIXELS and side % _CELL == 0 for side in sides):
        raise SettingsError(
            f"size of a calibration must have {MIN_SIDE} to {_MOST_PIXELS} pixels a side, in steps of {_CELL}, "
            f"not {size}."
        )
    return size

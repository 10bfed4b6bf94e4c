"""The interface of everything that draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from crdiff.calibration.kept import Kept
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Sampling:
    """How all images are drawn.

    Attributes:
        steps: of the sampler.
        guidance: scale of classifier-free guidance.
        negative: prompt.
        sampler: its name in the engine; None for the model's, or the WebUI's, own.
    """

    steps: int = 30
    guidance: float = 7.5
    negative: str = ""
    sampler: str | None = None


@dataclass(frozen=True)
class Request:
    """One image.

    Attributes:
        prompt: of it.
        seed: of its noise.
        size: in pixels.
        settings: of CR-Diff, with ratios by hand; off draws the model as it is.
    """

    prompt: str
    seed: int
    size: Size
    settings: Settings


@dataclass(frozen=True)
class Drawn:
    """An image, and the infotext that draws it again in a WebUI."""

    image: Image
    infotext: str


class Engine(Protocol):
    """Draws one image after the other."""

    @property
    def checkpoint(self) -> Checkpoint:
        """The model, its family known."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What images depend on besides their request, as plain JSON."""
        ...

    def check(self, size: Size, settings: Settings) -> None:
        """Raises SettingsError for what cannot be drawn."""
        ...

    def calibration(self, settings: Settings) -> str | None:
        """The id of the calibration that the criterion goes by, empty if it needs none; None if it is missing."""
        ...

    def calibrate(self, kept: Kept, should_stop: Callable[[], bool]) -> bool:
        """Make a calibration of the model, and print how it stands.

        Args:
            kept: what it has to keep.
            should_stop: asked meanwhile.

        Returns:
            Whether it was made; if it was stopped, nothing is kept.

        Raises:
            CRDiffError: it cannot be made.
        """
        ...

    def draw(self, request: Request) -> Drawn:
        """One image.

        Raises:
            CRDiffError: it could not be drawn, or not as it was asked for.
        """
        ...

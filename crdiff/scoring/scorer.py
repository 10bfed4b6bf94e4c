"""The interface of every scorer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

BATCH = 8
"""Images in one pass of a model; more need more memory and are barely faster."""


@runtime_checkable
class Scorer(Protocol):
    """Judges images by a prompt. The order of calls: available, load, then prepare and score, close.

    A scorer belongs to one thread at a time. After ``close`` it can be loaded again.

    Attributes:
        name: its name in the registry, or the formula of a weighted sum.
        highest: no score can be higher; None if there is no such bound.
        needs_dense: whether ``prepare`` must be given the dense image.
    """

    @property
    def name(self) -> str: ...

    @property
    def highest(self) -> float | None: ...

    @property
    def needs_dense(self) -> bool: ...

    def available(self) -> str | None:
        """One sentence why it cannot be used on this machine; None if it can. Reads no weights."""
        ...

    def load(self, device: torch.device | str = "cpu") -> None:
        """Bring the model to a device; loaded already, it only moves.

        Raises:
            ScoringError: it cannot be loaded; nothing stays in memory then.
        """
        ...

    def prepare(self, prompt: str, dense: Image | None = None) -> Any:
        """What is the same for all images of a prompt, to hand to ``score``.

        Args:
            prompt: plain text; ``prompts.plain_text`` makes it from a WebUI's prompt.
            dense: the image drawn without CR-Diff with the same seed, where ``needs_dense``.
        """
        ...

    def score(self, prepared: Any, images: Sequence[Image]) -> list[float]:
        """The finite scores of some images, in their order; an empty list for none.

        Raises:
            ScoringError: it is not loaded, or an image cannot be scored.
        """
        ...

    def close(self) -> None:
        """Free the model and its memory on the device; closing twice is no error."""
        ...

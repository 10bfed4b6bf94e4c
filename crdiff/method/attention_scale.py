"""Self-attention scaled by the number of its tokens (Jin et al., "Training-free diffusion model adaptation for
variable-sized text-to-image synthesis", NeurIPS 2023, arXiv 2306.08645).

The entropy of attention over N tokens grows as log N, so a model that was trained with T of them sees another at other
sizes. Logits times sqrt(log N / log T), for which the queries are scaled, undo that. It costs nothing.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from crdiff.checks import exact, is_number, shown
from crdiff.errors import SettingsError

OFF, AUTO = "off", "auto"
LOW, HIGH = 0.25, 4.0
SIZE_PATTERN = r"[1-9][0-9]{0,4}[xX][1-9][0-9]{0,4}"

_AUTO = re.compile(rf"{AUTO}(?:\s+({SIZE_PATTERN}))?", re.IGNORECASE)


@dataclass(frozen=True)
class AttentionScale:
    """How the logits of a UNet's self-attention are scaled.

    Attributes:
        factor: for all layers; None takes each layer's own, by its tokens.
        native: height and width in pixels that the model was trained at; None leaves them to the model's family.
    """

    factor: float | None = None
    native: tuple[int, int] | None = None

    @classmethod
    def parse(cls, value: object) -> AttentionScale | None:
        """From ``auto``, ``auto HEIGHTxWIDTH`` or a factor; None from ``off``.

        Raises:
            SettingsError: it is none of these, as the end of a sentence.
        """
        text = str(value).strip() if isinstance(value, str) or is_number(value) else ""
        if text.casefold() == OFF:
            return None
        if (found := _AUTO.fullmatch(text)) is not None:
            sides = [int(side) for side in re.split("[xX]", found[1])] if found[1] else []
            return cls(native=(sides[0], sides[1]) if sides else None)
        try:
            factor = float(text)
        except ValueError:
            factor = math.nan
        if LOW <= factor <= HIGH:
            return cls(factor)
        wanted = f"{OFF}, {AUTO}, {AUTO} HEIGHTxWIDTH or a factor in [{LOW:g}, {HIGH:g}]"
        raise SettingsError(f"must be {wanted}, not {shown(value)}.")

    def __str__(self) -> str:
        if self.factor is not None:
            return exact(self.factor)
        return AUTO if self.native is None else f"{AUTO} {self.native[0]}x{self.native[1]}"

    @property
    def phrase(self) -> str:
        """What is done, for users."""
        if self.factor is not None:
            return f"attention scaled by {exact(self.factor)}"
        return f"attention scaled from {self.native[0]}x{self.native[1]}" if self.native else "attention scaled"

    def of(self, tokens: int, pixels: int) -> float:
        """The factor of a layer.

        Args:
            tokens: that it attends over, N.
            pixels: of the images it is part of; the native size has T = N * native pixels / pixels.
        """
        if self.factor is not None:
            return self.factor
        if self.native is None or tokens < 2:
            return 1.0
        trained = tokens * (self.native[0] * self.native[1] / pixels)
        return math.sqrt(math.log(tokens) / math.log(trained)) if trained > 1.0 else 1.0

"""The checkpoint family, which decides what preset table applies."""

from __future__ import annotations

from enum import Enum


class Family(str, Enum):
    """A family of checkpoints that share one UNet layout. A fine-tune belongs to the family of its base model."""

    SD15 = "sd15"
    SD21 = "sd21"
    SDXL = "sdxl"
    OTHER = "other"

    @property
    def label(self) -> str:
        """The name users know the family by."""
        return {"sd15": "SD1.x", "sd21": "SD2.x", "sdxl": "SDXL", "other": "unknown model family"}[self.value]


def detect_family(context_widths: frozenset[int], deepest_stack: int) -> Family:
    """The family of a UNet.

    Args:
        context_widths: input widths of the cross-attention keys (``attn2.to_k``), in features.
        deepest_stack: the largest number of transformer blocks in one spatial transformer.
    """
    if context_widths == {2048}:
        return Family.SDXL
    if deepest_stack == 1 and context_widths == {768}:
        return Family.SD15
    if deepest_stack == 1 and context_widths == {1024}:
        return Family.SD21
    return Family.OTHER

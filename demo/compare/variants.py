"""The images a comparison is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crdiff.settings import Settings

CRDIFF = "CR-Diff"


@dataclass(frozen=True)
class Variant:
    """A way to draw the same image."""

    name: str
    settings: Settings


def variants(present: Settings) -> tuple[Variant, ...]:
    """The dense model, CR-Diff, and the pruned model alone, which is CR-Diff itself where its k is 1.

    Args:
        present: the accordion's settings; where it is off, Auto stands for them.
    """
    wanted = present if present.enabled else Settings(enabled=True)
    return (
        Variant("dense", Settings()),
        Variant(CRDIFF, wanted),
        Variant("pruned only (k = 1)", replace(wanted, k=1.0)),
    )

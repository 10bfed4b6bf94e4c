"""The images a comparison is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crdiff.settings import Settings


@dataclass(frozen=True)
class Variant:
    """A way to draw the same image."""

    name: str
    settings: Settings


def variants(present: Settings) -> tuple[Variant, ...]:
    """The dense model, the pruned one alone, and CR-Diff.

    Args:
        present: the accordion's settings; where it is off, Auto stands for them.
    """
    wanted = present if present.enabled else Settings(enabled=True)
    return (
        Variant("dense", Settings()),
        Variant("pruned only (k = 1)", replace(wanted, k=1.0)),
        Variant("CR-Diff", wanted),
    )

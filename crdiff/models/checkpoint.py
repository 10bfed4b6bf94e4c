"""A checkpoint: what it is called, its family, its hash."""

from __future__ import annotations

from dataclasses import dataclass

from crdiff.models.family import Family


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint.

    Attributes:
        name: as the host shows it; without a hash, whatever tells it from others.
        family: None if it cannot be told before the model is loaded.
        sha256: of the file; None if the host has not computed it.
        problem: one sentence if CR-Diff cannot handle it.
    """

    name: str
    family: Family | None = None
    sha256: str | None = None
    problem: str | None = None

    @property
    def key(self) -> str:
        """What its results are kept under: the hash, else the name."""
        return self.sha256 or self.name

"""The checkpoint family, which decides what preset table applies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """A family of checkpoints that share one layout. A fine-tune belongs to the family of its base model.

    Attributes:
        value: its key in files and in the API.
        label: the name users know it by.
    """

    value: str
    label: str


OTHER = Family("other", "unknown model family")
"""Of a model that can be pruned, but for which there are no presets."""

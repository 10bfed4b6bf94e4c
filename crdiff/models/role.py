"""What a Linear does in a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """The role of a Linear.

    Attributes:
        group: ``down``, ``mid`` or ``up``.
        block: name of the transformer block it belongs to.
        part: its name inside the block, such as ``attn1.to_q``.
        pruned: whether the method prunes it; others only tell the family.
        ends_branch: whether its output is what a branch of the block adds to the block's input.
    """

    group: str
    block: str
    part: str
    pruned: bool = True
    ends_branch: bool = False

"""How the amplified prediction is computed: exactly, or with fewer passes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from crdiff.pruning.memory import Storage


class Mode(Enum):
    """What a denoiser call costs and how near it comes to paper eq. 2.

    ``EXACT`` runs the pruned and the dense pass and is bit for bit what two whole passes and their mix give.
    ``BATCHED`` runs both as one pass of twice the rows: other kernels, so it rounds otherwise.
    ``FAST`` runs one pass with the mixed weights ``k * pruned + (1 - k) * dense``; its error vanishes at k = 0 and 1.
    ``BALANCED`` adds to it, fading, what it lacked when both were last computed.
    """

    EXACT = "exact"
    BATCHED = "batched"
    BALANCED = "balanced"
    FAST = "fast"


@dataclass(frozen=True)
class Execution:
    """How a sampling run computes.

    Attributes:
        mode: see ``Mode``.
        storage: whether pruned copies of layers are kept.
        refresh: with ``BALANCED``, denoiser calls from one exact one to the next.
    """

    mode: Mode = Mode.EXACT
    storage: Storage = Storage.AUTO
    refresh: int = 8

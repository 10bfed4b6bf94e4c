"""What a mode is: one way of computing the amplified prediction of a denoiser call (paper eq. 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch

    from crdiff.method.groups import Ratios
    from crdiff.method.schedule import Position


class Step(Protocol):
    """One denoiser call, as a mode sees it. Every pass starts from the same inputs and the same random state.

    What two passes have in common is computed once, so they come in this order: ``pruned``, ``mixed``, ``dense``.
    """

    @property
    def k(self) -> float:
        """Amplification; neither 0 nor 1, where one pass is enough whatever the mode."""

    @property
    def ratios(self) -> Ratios:
        """In force at this call; they prune something."""

    @property
    def position(self) -> Position:
        """The call's place in the schedule."""

    @property
    def call(self) -> int:
        """Which UNet call of its position this is; hosts may make several."""

    @property
    def context(self) -> torch.Tensor | None:
        """What the UNet is conditioned on, (batch, tokens, width); None if the host does not say."""

    def pruned(self) -> torch.Tensor:
        """The pruned pass."""

    def dense(self) -> torch.Tensor:
        """The dense pass; the last one, so that what hosts and extensions keep of a pass is what it would be without
        CR-Diff.
        """

    def mixed(self) -> torch.Tensor:
        """One pass with the weights ``k * pruned + (1 - k) * dense``."""

    def exact(self) -> torch.Tensor:
        """The pruned and the dense pass, amplified: ``amplified(pruned(), dense())``."""

    def both(self) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The pruned and the dense pass as one of twice the rows; None if the host cannot double its inputs."""

    def amplified(self, pruned: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        """``k * pruned + (1 - k) * dense`` of the two predictions."""


class Mode(Protocol):
    """One way of computing a step; a run has an instance of its own, which may remember.

    Attributes:
        name: what users choose it by.
        help: what it does and costs, in a sentence or two.
        passes: UNet passes for each of the host's own, on average.
        shares: whether what the passes of a step have in common is computed once.
        pruned_passes: how many of the passes are purely pruned ones, on average.
    """

    name: str
    help: str
    passes: float
    shares: bool
    pruned_passes: float

    def predict(self, step: Step) -> torch.Tensor:
        """The amplified prediction of a step, exactly or nearly."""

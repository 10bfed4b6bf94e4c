"""What a sampling run has to know of its host's model; each host module implements it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch

from crdiff.pruning.linear import LayerRun


@dataclass(frozen=True)
class WeightsIdentity:
    """What the host says its live weights are. Equal identities on one UNet object mean equal weights within a run.

    Attributes:
        checkpoint: identity of the checkpoint file: its sha256, else path, size and time of change.
        sha256: of the checkpoint file, if the host has computed it.
        precision: storage and compute dtypes.
        modifiers: what changes the weights after loading, such as each LoRA with its strengths.
    """

    checkpoint: str
    sha256: str | None
    precision: str
    modifiers: tuple[str, ...]


class ModelAccess(Protocol):
    """The host's model, seen from a sampling run."""

    @property
    def run_layer(self) -> LayerRun:
        """How a layer's forward is run with another weight."""

    def identity(self) -> WeightsIdentity:
        """What the live weights are now; asked at every denoiser call, so it must be cheap.

        Raises:
            UnsupportedModelError: the host draws with something else than the UNet's own weights.
        """

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        """A layer's weight as stored, without changes that the host applies lazily. Only fingerprinted."""

    def generators(self) -> Iterable[random.Random]:
        """Random generators of the host's own that a forward pass may draw from."""

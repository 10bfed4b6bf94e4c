"""What a run has to know of its host's model; each host module implements it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from crdiff.guidance.graphs import Arguments
from crdiff.models.checkpoint import Checkpoint
from crdiff.pruning.linear import LayerRun, run_with_weight

UNNAMED = "unnamed"
"""The modifier of weights that something changes which the host has no name for."""


@dataclass(frozen=True)
class WeightsIdentity:
    """What the host says its live weights are.

    Attributes:
        checkpoint: named by path, size and time of change where its hash is not known.
        precision: storage and compute dtypes.
        modifiers: what changes the weights after loading, such as each LoRA with its strengths.
    """

    checkpoint: Checkpoint
    precision: str
    modifiers: tuple[str, ...]


class ModelAccess(Protocol):
    """The host's model, seen from a run."""

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

    def added_on_use(self, module: torch.nn.Module) -> Iterable[torch.Tensor | str]:
        """What the host makes the weight of from the stored one when the layer runs, such as a LoRA's factors and their
        strengths; nothing where it is used as it is stored. Only fingerprinted.
        """

    def generators(self) -> Iterable[random.Random]:
        """Random generators of the host's own that a forward pass may draw from."""


class HostedRun(Protocol):
    """What a host's hook hands its UNet calls to, such as ``Run``, which see."""

    def predict(
        self,
        unet: torch.nn.Module,
        forward: Callable[[], torch.Tensor],
        device: torch.device,
        context: torch.Tensor | None = None,
        doubled: Callable[[], torch.Tensor] | None = None,
        arguments: Arguments | None = None,
        cells: int = 0,
    ) -> torch.Tensor:
        """What the host takes for the UNet's prediction."""

    def companion(self, module: torch.nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call of a module beside the UNet."""


class PlainAccess:
    """A model that no WebUI holds: its layers multiply by their own weights, which nothing changes during a run.

    Args:
        name: of the checkpoint.
        sha256: of its file, by which presets are looked up.
    """

    run_layer = staticmethod(run_with_weight)

    def __init__(self, name: str = "model", sha256: str | None = None) -> None:
        self._identity = WeightsIdentity(Checkpoint(name, sha256=sha256), "as stored", ())

    def identity(self) -> WeightsIdentity:
        return self._identity

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        return module.get_parameter("weight")

    def added_on_use(self, module: torch.nn.Module) -> tuple[str, ...]:
        return ()

    def generators(self) -> tuple[random.Random, ...]:
        return ()

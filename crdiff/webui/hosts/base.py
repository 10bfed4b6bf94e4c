"""What every host module offers the rest of the extension."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from crdiff.guidance.access import ModelAccess
from crdiff.guidance.run import SamplingRun
from crdiff.pruning.memory import Storage


class DenoiserHook(Protocol):
    """The connection between a sampling run and the host's UNet calls, for one sampler call."""

    def on_denoiser(self, denoiser: Any) -> None:
        """The host's CFGDenoiser is about to call the UNet; the model may have been switched since the last time."""


class Host(Protocol):
    """A family of WebUIs that share their hook points."""

    name: str

    def access(self) -> ModelAccess:
        """The host's model."""

    def storage(self, wanted: Storage) -> Storage:
        """Whether pruned copies can be kept, where ``wanted`` is what the user has set."""

    def hooked(self, run: SamplingRun) -> AbstractContextManager[DenoiserHook]:
        """Within the block the run stands in for the host's UNet calls; afterwards every hook is gone."""

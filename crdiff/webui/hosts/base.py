"""What every host module offers the rest of the extension, and which one applies."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from crdiff.calibration.denoising import Denoising
from crdiff.guidance.access import HostedRun, ModelAccess
from crdiff.pruning.copies import CopyPolicy
from crdiff.webui.hosts.a1111 import A1111
from crdiff.webui.hosts.forge import Forge
from crdiff.webui.hosts.reforge import Reforge


class DenoiserHook(Protocol):
    """The connection between a run and the host's UNet calls, for one sampler call."""

    def on_denoiser(self, denoiser: Any) -> None:
        """The host's CFGDenoiser is about to call the UNet; the model may have been switched since the last time."""


class Host(Protocol):
    """A family of WebUIs that share their hook points."""

    name: str

    @staticmethod
    def matches(sd_model: Any) -> bool:
        """Whether a loaded model is this host's, told by its features and never by name."""

    def access(self) -> ModelAccess:
        """The host's model."""

    def denoising(self) -> Denoising | None:
        """What the loaded UNet has been trained for; None if that is not to predict noise or v."""

    def copy_policy(self, wanted: CopyPolicy) -> CopyPolicy:
        """Whether copies of pruned weights can be kept, where ``wanted`` is what the user has set."""

    def hooked(self, run: HostedRun) -> AbstractContextManager[DenoiserHook]:
        """Within the block the run stands in for the host's UNet calls; afterwards every hook is gone."""


HOSTS: tuple[Host, ...] = (A1111(), Forge(), Reforge())


def select_host(sd_model: Any) -> Host:
    """The first host module that a loaded model matches; the last one is for all that keep ``forge_objects``."""
    return next(host for host in HOSTS if host.matches(sd_model))

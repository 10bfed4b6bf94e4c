"""reForge and Forge Classic: ``ldm_patched`` in place of Forge's ``backend``, the same objects above it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from crdiff.calibration.denoising import Denoising
from crdiff.guidance.access import HostedRun
from crdiff.pruning.copies import CopyPolicy
from crdiff.webui.hosts.engine import EngineHook, hooked_engine, live_model
from crdiff.webui.hosts.forge import ForgeAccess, denoising_of, patched_in


class ReforgeAccess(ForgeAccess):
    """The live model of a host built on ``ldm_patched``."""

    def _precision(self, model: Any) -> str:
        return f"{model.get_dtype()}/{getattr(model, 'manual_cast_dtype', None)}"

    def _loras(self, engine: Any, model: Any) -> tuple[str, ...]:
        """What the host has patched in; its low-memory layers add it on each use."""
        return patched_in(engine)


class Reforge:
    """reForge and Forge Classic."""

    name = "reForge"

    @staticmethod
    def matches(sd_model: Any) -> bool:
        """See Host."""
        return hasattr(sd_model, "forge_objects")

    def access(self) -> ReforgeAccess:
        return ReforgeAccess()

    def denoising(self) -> Denoising | None:
        """See Host."""
        from modules import shared

        model = live_model(shared.sd_model)
        return denoising_of(model.model_sampling, model.model_type.name)

    def copy_policy(self, wanted: CopyPolicy) -> CopyPolicy:
        """See Host. Layers that are streamed in multiply by a moved weight, of which no copy is kept anyway."""
        return wanted

    def hooked(self, run: HostedRun) -> AbstractContextManager[EngineHook]:
        return hooked_engine(run)

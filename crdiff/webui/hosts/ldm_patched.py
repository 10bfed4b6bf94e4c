"""reForge and Forge Classic: ``ldm_patched`` in place of Forge's ``backend``, the same objects above it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from crdiff.guidance.run import SamplingRun
from crdiff.pruning.memory import Storage
from crdiff.webui.hosts.engine import EngineHook, hooked_engine
from crdiff.webui.hosts.forge import ForgeAccess, named_loras


class LdmPatchedAccess(ForgeAccess):
    """The live model of a host built on ``ldm_patched``."""

    def _precision(self, model: Any) -> str:
        return f"{model.get_dtype()}/{getattr(model, 'manual_cast_dtype', None)}"

    def _loras(self, engine: Any, model: Any) -> tuple[str, ...]:
        """The set the host has patched in; its low-memory layers add it on each use."""
        return named_loras(getattr(engine, "current_lora_hash", None))


class LdmPatched:
    """reForge and Forge Classic."""

    name = "reForge"

    def access(self) -> LdmPatchedAccess:
        return LdmPatchedAccess()

    def storage(self, wanted: Storage) -> Storage:
        """See Host. Layers that are streamed in multiply by a moved weight, of which no copy is kept anyway."""
        return wanted

    def hooked(self, run: SamplingRun) -> AbstractContextManager[EngineHook]:
        return hooked_engine(run)

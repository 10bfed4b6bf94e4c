"""Forge and Forge Neo: their own ``backend`` package, LoRAs merged when the model is loaded or on each use."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from crdiff.guidance.access import HostedRun, WeightsIdentity
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.linear import LayerRun, run_with_weight
from crdiff.webui.hosts.checkpoint import live_checkpoint
from crdiff.webui.hosts.engine import EngineHook, hooked_engine, live_model


class ForgeAccess:
    """The live model of a host with ``forge_objects``."""

    @property
    def run_layer(self) -> LayerRun:
        return run_with_weight

    def identity(self) -> WeightsIdentity:
        from modules import shared

        engine = shared.sd_model
        model = live_model(engine)
        checkpoint = live_checkpoint(getattr(engine, "sd_checkpoint_info", None))
        return WeightsIdentity(checkpoint, self._precision(model), self._loras(engine, model))

    def _precision(self, model: Any) -> str:
        return f"{model.storage_dtype}/{model.computation_dtype}"

    def _loras(self, engine: Any, model: Any) -> tuple[str, ...]:
        """What the loader has merged into the live weights by now, or merges on each use."""
        loader = getattr(model, "lora_loader", None)
        return named_loras(getattr(loader, "loaded_hash", None))

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        return weight

    def generators(self) -> Iterable[random.Random]:
        return ()


def named_loras(loras: str | None) -> tuple[str, ...]:
    """The host's description of its LoRA set; an empty list in text form means none."""
    return () if loras is None or loras == str([]) else (loras,)


class Forge:
    """Forge and Forge Neo."""

    name = "Forge"

    @staticmethod
    def matches(sd_model: Any) -> bool:
        """See Host."""
        return hasattr(sd_model, "forge_objects") and hasattr(live_model(sd_model), "computation_dtype")

    def access(self) -> ForgeAccess:
        return ForgeAccess()

    def copy_policy(self, wanted: CopyPolicy) -> CopyPolicy:
        """See Host. Layers that are streamed in multiply by a moved weight, of which no copy is kept anyway."""
        return wanted

    def hooked(self, run: HostedRun) -> AbstractContextManager[EngineHook]:
        return hooked_engine(run)

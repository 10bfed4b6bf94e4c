"""Forge and Forge Neo: their own ``backend`` package, LoRAs merged when the model is loaded or on each use."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from crdiff.calibration.denoising import Denoising
from crdiff.guidance.access import UNNAMED, HostedRun, WeightsIdentity
from crdiff.models.architecture import Layer
from crdiff.patching import Original
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.linear import ChangeWeight, LayerRun, run_with_weight
from crdiff.webui.hosts.checkpoint import live_checkpoint
from crdiff.webui.hosts.engine import EngineHook, hooked_engine, live_model
from crdiff.webui.hosts.on_use import merged_on_use


class ForgeAccess:
    """The live model of a host with ``forge_objects``."""

    @property
    def run_layer(self) -> LayerRun:
        return _run_layer

    def identity(self) -> WeightsIdentity:
        from modules import shared

        engine = shared.sd_model
        model = live_model(engine)
        checkpoint = live_checkpoint(getattr(engine, "sd_checkpoint_info", None))
        return WeightsIdentity(checkpoint, self._precision(model), self._loras(engine, model))

    def _precision(self, model: Any) -> str:
        return f"{model.storage_dtype}/{model.computation_dtype}"

    def _loras(self, engine: Any, model: Any) -> tuple[str, ...]:
        """What Forge's loader has merged into the live weights by now, or merges on each use; Neo has no loader."""
        loader = getattr(model, "lora_loader", None)
        return patched_in(engine) if loader is None else _named(loader.loaded_hash)

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        weight: torch.Tensor = module.weight  # type: ignore[assignment]
        return weight

    def added_on_use(self, module: torch.nn.Module) -> Iterable[torch.Tensor | str]:
        return merged_on_use(module)

    def generators(self) -> Iterable[random.Random]:
        return ()


def patched_in(engine: Any) -> tuple[str, ...]:
    """The patches of the UNet's weights in a host that keeps them with its patcher and merges them when it loads it.

    The Lora extension names its own; Neo forgets the names when a refiner takes over, and others give none.
    """
    named = _named(getattr(engine, "current_lora_hash", None))
    return named or ((UNNAMED,) if engine.forge_objects.unet.patches else ())


def _named(loras: str | None) -> tuple[str, ...]:
    """The host's description of its LoRA set; an empty list in text form means none."""
    return () if loras is None or loras == str([]) else (loras,)


def _run_layer(
    layer: Layer, forward: Original, change: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    """Neo's int8 layers round their input too, but only where the weight comes quantised: so the changed one does."""

    def quantised(call: LinearCall) -> torch.Tensor:
        weight = change(call)
        requantise = getattr(call.weight, "requantize_from_float", None)
        if requantise is None or weight is call.weight or type(call.input) is type(call.weight):
            return weight
        found: torch.Tensor = requantise(weight, scale="recalculate")
        return found

    return run_with_weight(layer, forward, quantised, args, kwargs)


def denoising_of(schedule: Any, predicts: str) -> Denoising | None:
    """What a UNet has been trained for, by what the host keeps its noise at each time in."""
    velocity = {"eps": False, "epsilon": False, "v_prediction": True}.get(predicts.lower())
    return None if velocity is None else Denoising(schedule.sigmas.float(), velocity)


class Forge:
    """Forge and Forge Neo."""

    name = "Forge"

    @staticmethod
    def matches(sd_model: Any) -> bool:
        """See Host."""
        return hasattr(sd_model, "forge_objects") and hasattr(live_model(sd_model), "computation_dtype")

    def access(self) -> ForgeAccess:
        return ForgeAccess()

    def denoising(self) -> Denoising | None:
        """See Host."""
        from modules import shared

        predictor = live_model(shared.sd_model).predictor
        return denoising_of(predictor, predictor.prediction_type)

    def copy_policy(self, wanted: CopyPolicy) -> CopyPolicy:
        """See Host. Layers that are streamed in multiply by a moved weight, of which no copy is kept anyway."""
        return wanted

    def hooked(self, run: HostedRun) -> AbstractContextManager[EngineHook]:
        return hooked_engine(run)

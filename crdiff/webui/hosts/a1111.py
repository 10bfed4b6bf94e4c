"""AUTOMATIC1111 1.10: the hook is the class of the wrapper that every sampler calls the UNet through.

The class, not the instance, because the refiner and hires fix switch models in the middle of a run, and not the UNet
itself, because ControlNet and others replace its forward; the wrapper sees exactly what the UNet gets.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from crdiff.calibration.denoising import Denoising
from crdiff.errors import UnsupportedModelError
from crdiff.guidance.access import HostedRun, WeightsIdentity
from crdiff.models.architecture import Layer
from crdiff.patching import Original, Patch
from crdiff.pruning.copies import CopyPolicy
from crdiff.pruning.criterion import LinearCall
from crdiff.pruning.linear import ChangeWeight, LayerRun, run_with_weight
from crdiff.webui.hosts.arguments import repeated, taken_apart
from crdiff.webui.hosts.checkpoint import live_checkpoint

_WRAPPERS = (
    ("ldm.models.diffusion.ddpm", "DiffusionWrapper"),
    ("modules.models.diffusion.ddpm_edit", "DiffusionWrapper"),
    ("sgm.modules.diffusionmodules.wrappers", "OpenAIWrapper"),
    ("modules.models.sd3.sd3_impls", "BaseModel"),
)


# sd-webui-controlnet evaluates its ControlNets inside the UNet's forward.
_CONTROLNET = ("scripts.cldm", "PlugableControlModel")


def _networks() -> Any | None:
    """The built-in Lora extension's module; None if the user has disabled it."""
    return sys.modules.get("networks")


def _functional(networks: Any) -> bool:
    """Whether LoRAs are added beside each layer instead of being merged into its weight."""
    from modules import shared

    return bool(getattr(shared.opts, "lora_functional", False)) and bool(networks.loaded_networks)


class A1111Access:
    """The live model of AUTOMATIC1111."""

    @property
    def run_layer(self) -> LayerRun:
        return _run_layer

    def identity(self) -> WeightsIdentity:
        from modules import devices, sd_unet, shared

        if getattr(sd_unet, "current_unet", None) is not None:
            raise UnsupportedModelError(
                "CR-Diff cannot prune an exported UNet (TensorRT and the like); choose SD Unet: None in the settings."
            )
        checkpoint = live_checkpoint(getattr(shared.sd_model, "sd_checkpoint_info", None))
        networks = _networks()
        loaded = () if networks is None else networks.loaded_networks
        modifiers = [f"{net.name}:{net.te_multiplier}:{net.unet_multiplier}:{net.dyn_dim}" for net in loaded]
        if modifiers and _functional(networks):
            modifiers.append("functional")
        precision = f"{devices.dtype_unet}/{getattr(devices, 'fp8', False)}"
        return WeightsIdentity(checkpoint, precision, tuple(modifiers))

    def stored_weight(self, module: torch.nn.Module) -> torch.Tensor:
        """The weight without LoRA: the Lora extension merges lazily, so ``weight`` may still hold the last prompt's."""
        backup = getattr(module, "network_weights_backup", None)
        merged = getattr(module, "network_current_names", ()) != ()
        weight: torch.Tensor = backup if merged and isinstance(backup, torch.Tensor) else module.weight  # type: ignore[assignment]
        return weight

    def added_on_use(self, module: torch.nn.Module) -> Iterable[torch.Tensor | str]:
        """The factors of the LoRAs of this prompt, merged or not: extensions change them under the same name."""
        networks, name = _networks(), getattr(module, "network_layer_name", None)
        for network in () if networks is None else networks.loaded_networks:
            if (added := network.modules.get(name)) is not None:
                for value in vars(added).values():
                    if isinstance(value, torch.nn.Module) and value is not module:
                        yield from value.parameters()
                    elif isinstance(value, torch.Tensor):
                        yield value

    def generators(self) -> Iterable[random.Random]:
        hypertile = sys.modules.get("hypertile")
        generator = getattr(hypertile, "RNG_INSTANCE", None)
        return (generator,) if isinstance(generator, random.Random) else ()


def _run_layer(
    layer: Layer, forward: Original, change: ChangeWeight, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> torch.Tensor:
    networks = _networks()
    if networks is not None and _functional(networks):
        name = getattr(layer.module, "network_layer_name", None)
        added = [net.modules[name] for net in networks.loaded_networks if name in net.modules]
        if added:
            return _run_merged(networks, layer, added, change, args, kwargs)
    return run_with_weight(layer, forward, change, args, kwargs)


def _run_merged(
    networks: Any,
    layer: Layer,
    added: list[Any],
    change: ChangeWeight,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> torch.Tensor:
    """A functional LoRA's layer as if merged, so that the LoRA-changed weight is what gets pruned."""
    module = layer.module
    networks.network_restore_weights_from_backup(module)
    networks.network_reset_cached_weight(module)
    biases = []

    def merged(call: LinearCall) -> torch.Tensor:
        weight = call.weight
        for network in added:
            updown, bias = _added_by(network, call.weight)
            weight = (weight.to(updown.dtype) + updown).to(call.weight.dtype)
            biases.extend([] if bias is None else [bias])
        return change(replace(call, weight=weight))

    def plain(*args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = networks.originals.Linear_forward(module, *args, **kwargs)
        return result

    result = run_with_weight(layer, plain, merged, args, kwargs)
    for bias in biases:
        result = result + bias.to(result.dtype)
    return result


def _added_by(network: Any, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What a functional LoRA adds to a layer's weight and bias: with a forward of its own, never DoRA's share."""
    dora = getattr(network, "dora_scale", None)
    try:
        if dora is not None and "forward" in vars(type(network)):
            network.dora_scale = None
        updown, bias = network.calc_updown(weight)
    finally:
        if dora is not None:
            network.dora_scale = dora
    return updown, bias


class A1111Hook:
    """Nothing to do at a denoiser call: the class hook follows every model switch by itself."""

    def on_denoiser(self, denoiser: Any) -> None:
        """See DenoiserHook."""


class A1111:
    """AUTOMATIC1111 1.10 and its close forks."""

    name = "AUTOMATIC1111"

    @staticmethod
    def matches(sd_model: Any) -> bool:
        """See Host."""
        return getattr(sd_model, "forge_objects", None) is None

    def access(self) -> A1111Access:
        return A1111Access()

    def denoising(self) -> Denoising | None:
        """See Host."""
        from modules import shared

        signal = getattr(shared.sd_model, "alphas_cumprod", None)
        velocity = getattr(shared.sd_model, "parameterization", None) == "v"
        return Denoising.of_signal(signal, velocity=velocity) if isinstance(signal, torch.Tensor) else None

    def copy_policy(self, wanted: CopyPolicy) -> CopyPolicy:
        """See Host. Low VRAM mode moves each layer's own weight in and out, so that copies would only take its room."""
        from modules import shared

        return CopyPolicy.NEVER if getattr(shared.cmd_opts, "lowvram", False) else wanted

    @contextmanager
    def hooked(self, run: HostedRun) -> Iterator[A1111Hook]:
        """See Host. Two passes at the wrapper, whatever the sampler, ControlNet or tiling above it does."""
        with ExitStack() as hooks:
            for module_name, class_name in _WRAPPERS:
                wrapper = getattr(sys.modules.get(module_name), class_name, None)
                if wrapper is not None:
                    hooks.enter_context(_hooked_class(wrapper, run))
            controlnet = getattr(sys.modules.get(_CONTROLNET[0]), _CONTROLNET[1], None)
            if controlnet is not None:
                hooks.enter_context(_shared_class(controlnet, run))
            yield A1111Hook()


@contextmanager
def _shared_class(module: Any, run: HostedRun) -> Iterator[None]:
    def forward(original: Original, self: Any, *args: Any, **kwargs: Any) -> Any:
        return run.companion(self, partial(original, self), *args, **kwargs)

    patch = Patch(module, "forward", forward)
    try:
        yield
    finally:
        patch.remove()


def _context(args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor | None:
    """What the UNet is conditioned on, as one tensor; by keyword in the LDM wrappers, in a dict in sgm's."""
    conditions = kwargs.get("c_crossattn")
    if conditions is None and len(args) > 2 and isinstance(args[2], dict):
        conditions = args[2].get("crossattn")
    given = conditions if isinstance(conditions, (list, tuple)) else [conditions]
    parts = [part for part in given if isinstance(part, torch.Tensor)]
    return torch.cat(parts, 1) if parts and len(parts) == len(given) else None


@contextmanager
def _hooked_class(wrapper: Any, run: HostedRun) -> Iterator[None]:
    def forward(original: Original, self: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        x = args[0] if args else kwargs.get("x")
        if not isinstance(x, torch.Tensor):
            # ControlNet calls without arguments, to have the model moved to the GPU.
            return original(self, *args, **kwargs)

        def once() -> torch.Tensor:
            result: torch.Tensor = original(self, *args, **kwargs)
            return result

        def doubled() -> torch.Tensor:
            result: torch.Tensor = original(self, *repeated(args, len(x)), **repeated(kwargs, len(x)))
            return result

        arguments = taken_apart(args, kwargs, x.device, lambda some, named: original(self, *some, **named))
        cells = x.shape[-2] * x.shape[-1]
        return run.predict(self.diffusion_model, once, x.device, _context(args, kwargs), doubled, arguments, cells)

    patch = Patch(wrapper, "forward", forward)
    try:
        yield
    finally:
        patch.remove()

"""LoRA as patches on a model's weights: merged when the model is loaded, or applied at every forward."""

from __future__ import annotations

from typing import Any

import torch

from backend import memory_management, utils


def load_lora(lora: dict[str, torch.Tensor], to_load: dict[str, str]) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The patches for the layers in ``to_load`` (name in the file: key of the weight), and what is left over."""
    patches, used = {}, set()
    for name, key in to_load.items():
        parts = [f"{name}.{part}" for part in ("lora_up.weight", "lora_down.weight", "alpha")]
        if parts[0] in lora:
            alpha = lora.get(parts[2])
            patches[key] = ("lora", (lora[parts[0]], lora[parts[1]], None if alpha is None else float(alpha), None))
            used.update(parts)
    return patches, {k: v for k, v in lora.items() if k not in used}


def model_lora_keys_unet(model: Any) -> dict[str, str]:
    prefix, suffix = "diffusion_model.", ".weight"
    keys = [k for k, _ in model.named_parameters() if k.startswith(prefix) and k.endswith(suffix)]
    return {"lora_unet_" + k[len(prefix):-len(suffix)].replace(".", "_"): k for k in keys}


def model_lora_keys_clip(model: Any) -> dict[str, str]:
    found = {}
    for key, _ in model.named_parameters():
        if key.endswith(".weight") and key.startswith("transformer."):
            name = key[len("transformer."):-len(".weight")].replace(".", "_")
            found[f"lora_te_{name}"] = found[f"lora_te1_{name}"] = key
    return found


@torch.inference_mode()
def merge_lora_to_weight(patches: list, weight: torch.Tensor, key: str = "online lora",
                         computation_dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """``patches``: (strength, ("lora", (up, down, alpha, mid)), strength of the model, offset, function)."""
    result = weight.to(dtype=computation_dtype)
    for strength, (kind, values), strength_model, _offset, _function in patches:
        if kind != "lora":
            print(f"patch type not recognized {kind} {key}")
            continue
        up, down = (memory_management.cast_to_device(x, result.device, computation_dtype) for x in values[:2])
        alpha = 1.0 if values[2] is None else values[2] / down.shape[0]
        result = result * strength_model + (strength * alpha) * (up @ down).reshape(result.shape)
    return result.to(dtype=weight.dtype)


class LoraLoader:
    """Sits on the model, not on its patchers, so that clones agree on what is merged."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.backup: dict[str, torch.nn.Parameter] = {}
        self.online_backup: list[Any] = []
        self.loaded_hash = str([])

    @torch.inference_mode()
    def refresh(self, lora_patches: dict, offload_device: Any = memory_management.cpu,
                force_refresh: bool = False) -> None:
        hashes = str(list(lora_patches.keys()))
        if hashes == self.loaded_hash and not force_refresh:
            return
        everything: dict[tuple[str, bool], list] = {}
        for (_, _, _, online_mode), patches in lora_patches.items():
            for key, listed in patches.items():
                everything.setdefault((key, online_mode), []).extend(listed)

        for layer in set(self.online_backup):
            del layer.forge_online_loras
        self.online_backup = []
        for key, weight in self.backup.items():
            self._put(key, weight)
        self.backup = {}

        for (key, online_mode), listed in everything.items():
            layer, name, weight = utils.get_attr_with_parent(self.model, key)
            if online_mode:
                if not hasattr(layer, "forge_online_loras"):
                    layer.forge_online_loras = {}
                layer.forge_online_loras[name] = listed
                self.online_backup.append(layer)
                continue
            self.backup.setdefault(key, weight)
            here = weight.to(device=weight.device)
            merged = merge_lora_to_weight(listed, here, key, computation_dtype=torch.float32)
            self._put(key, torch.nn.Parameter(merged.to(weight.dtype), requires_grad=False))
        self.loaded_hash = hashes

    def _put(self, key: str, value: torch.nn.Parameter) -> None:
        """The new Parameter takes the old one's place, and its distance from the compute device."""
        old = utils.get_attr(self.model, key)
        if type(value) is not type(old):
            value.__class__ = type(old)
        utils.set_attr_raw(self.model, key, value)

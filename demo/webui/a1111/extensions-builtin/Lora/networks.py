"""Lazy LoRA: choosing networks only fills a list; each layer changes its weights at its next forward.

A layer backs its weight up before the first change, and restores it from the backup before every other. So whatever
stood in the weight at that first moment is taken for the original from then on.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import torch

import network
from modules import devices, errors, sd_models, shared
from modules.util import walk_files

available_networks: dict[str, network.NetworkOnDisk] = {}
available_network_aliases: dict[str, network.NetworkOnDisk] = {}
loaded_networks: list[network.Network] = []
extra_network_lora: Any = None
originals = SimpleNamespace()
"""The layers' own methods, as ``Linear_forward``, where other extensions find them."""


def assign_network_names_to_compvis_modules(sd_model: Any) -> None:
    """Gives every layer the name under which LoRA files know it."""
    mapping: dict[str, torch.nn.Module] = {}

    def add(name: str, module: torch.nn.Module) -> None:
        name = name.replace(".", "_")
        mapping[name] = module
        module.network_layer_name = name

    if hasattr(sd_model, "conditioner"):
        for index, embedder in enumerate(sd_model.conditioner.embedders):
            for name, module in embedder.named_modules():
                add(f"{index}_{name}", module)
    else:
        for name, module in sd_model.cond_stage_model.named_modules():
            add(name, module)
    for name, module in sd_model.model.named_modules():
        add(name, module)
    sd_model.network_layer_mapping = mapping


def list_available_networks() -> None:
    available_networks.clear()
    available_network_aliases.clear()
    os.makedirs(shared.cmd_opts.lora_dir, exist_ok=True)
    for filename in walk_files(shared.cmd_opts.lora_dir, [".safetensors"]):
        name = os.path.splitext(os.path.basename(filename))[0]
        available_networks[name] = available_network_aliases[name] = network.NetworkOnDisk(name, filename)


def _layer_key(key: str) -> str:
    for prefix, replacement in (("lora_unet_", "diffusion_model_"), ("lora_te1_", "0_transformer_"),
                                ("lora_te_", "transformer_")):
        if key.startswith(prefix):
            return replacement + key[len(prefix):]
    return key


def load_network(name: str, network_on_disk: network.NetworkOnDisk) -> network.Network:
    net = network.Network(name, network_on_disk)
    grouped: dict[str, dict[str, torch.Tensor]] = {}
    for key, weight in sd_models.read_state_dict(network_on_disk.filename).items():
        layer, _, part = key.partition(".")
        grouped.setdefault(_layer_key(layer), {})[part] = weight
    mapping = shared.sd_model.network_layer_mapping
    net.modules = {key: network.NetworkModule(net, key, w) for key, w in grouped.items() if key in mapping}
    return net


def load_networks(names: list[str], te_multipliers: list | None = None, unet_multipliers: list | None = None,
                  dyn_dims: list | None = None) -> None:
    already = {net.name: net for net in loaded_networks}
    loaded_networks.clear()
    if any(name not in available_network_aliases for name in names):
        list_available_networks()
    for i, name in enumerate(names):
        on_disk = available_network_aliases.get(name)
        if on_disk is None:
            from modules import sd_hijack

            sd_hijack.model_hijack.comments.append(f"Lora not found: {name}")
            continue
        net = already.get(name)
        try:
            if net is None or os.path.getmtime(on_disk.filename) > net.mtime:
                net = load_network(name, on_disk)
        except Exception as e:
            errors.display(e, f"loading network {on_disk.filename}")
            continue
        net.mentioned_name = name
        on_disk.read_hash()
        net.te_multiplier = te_multipliers[i] if te_multipliers else 1.0
        net.unet_multiplier = unet_multipliers[i] if unet_multipliers else 1.0
        net.dyn_dim = dyn_dims[i] if dyn_dims else None
        loaded_networks.append(net)


def network_restore_weights_from_backup(self: torch.nn.Module) -> None:
    weights, bias = (getattr(self, f"network_{kind}_backup", None) for kind in ("weights", "bias"))
    if weights is None and bias is None:
        return
    if weights is not None:
        self.weight.copy_(weights)
    if bias is None:
        self.bias = None
    else:
        self.bias.copy_(bias)


def network_apply_weights(self: torch.nn.Module) -> None:
    """Brings the layer's weight to the networks that are chosen now; nothing happens when it is there already."""
    name = getattr(self, "network_layer_name", None)
    if name is None:
        return
    current = getattr(self, "network_current_names", ())
    wanted = tuple((x.name, x.te_multiplier, x.unet_multiplier, x.dyn_dim) for x in loaded_networks)
    if getattr(self, "network_weights_backup", None) is None and wanted != ():
        if current != ():
            raise RuntimeError(f"{name} - no backup weights found and current weights are not unchanged")
        self.network_weights_backup = self.weight.to(devices.cpu, copy=True)
        bias = getattr(self, "bias", None)
        self.network_bias_backup = None if bias is None else bias.to(devices.cpu, copy=True)
    if current == wanted:
        return
    with torch.no_grad():
        network_restore_weights_from_backup(self)
        for net in loaded_networks:
            module = net.modules.get(name)
            if module is None:
                continue
            try:
                kept = getattr(self, "fp16_weight", None)
                weight = self.weight if kept is None else kept.clone().to(self.weight.device)
                updown, _bias = module.calc_updown(weight)
                self.weight.copy_((weight.to(updown.dtype) + updown).to(self.weight.dtype))
            except RuntimeError:
                extra_network_lora.errors[net.name] = extra_network_lora.errors.get(net.name, 0) + 1
    self.network_current_names = wanted


def network_reset_cached_weight(self: torch.nn.Module) -> None:
    self.network_current_names = ()
    self.network_weights_backup = None
    self.network_bias_backup = None


def network_forward(org_module: torch.nn.Module, x: torch.Tensor, original_forward: Any) -> torch.Tensor:
    """The old way: the weight stays as it is, and the change is added to the layer's output."""
    if not loaded_networks:
        return original_forward(org_module, x)
    with torch.no_grad():
        network_restore_weights_from_backup(org_module)
    network_reset_cached_weight(org_module)
    y = original_forward(org_module, x)
    for net in loaded_networks:
        module = net.modules.get(getattr(org_module, "network_layer_name", None))
        if module is not None:
            y = module.forward(x, y)
    return y


def patch_layers() -> None:
    """Class patches that let every layer look after its own weights."""
    for kind in (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm):
        setattr(originals, f"{kind.__name__}_forward", kind.forward)
        kind.forward = _forward(kind.forward)
        kind._load_from_state_dict = _load_state_dict(kind._load_from_state_dict)


def _forward(original: Any) -> Any:
    def forward(self: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        if shared.opts.lora_functional:
            return network_forward(self, x, original)
        network_apply_weights(self)
        return original(self, x)

    return forward


def _load_state_dict(original: Any) -> Any:
    def load(self: torch.nn.Module, *args: Any, **kwargs: Any) -> None:
        network_reset_cached_weight(self)
        return original(self, *args, **kwargs)

    return load


list_available_networks()

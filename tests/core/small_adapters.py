"""A LoRA beside a layer, with the attributes and the arithmetic of PEFT's ``lora.Linear``."""

from __future__ import annotations

import re

import torch

ADAPTED = re.compile(r"transformer_blocks\.\d+\.(attn[12]\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))$")


class AdaptedLinear(torch.nn.Module):
    """Adds what its active adapters make of the input to the product of its base layer."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.in_features, self.out_features = base.in_features, base.out_features
        self.lora_A, self.lora_B = torch.nn.ModuleDict(), torch.nn.ModuleDict()
        self.scaling, self.lora_variant, self.lora_bias = {}, {}, {}
        self.active_adapters, self.merged_adapters, self.disable_adapters = [], [], False

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def merged(self):
        return bool(self.merged_adapters)

    def get_delta_weight(self, name):
        return self.lora_B[name].weight @ self.lora_A[name].weight * self.scaling[name]

    def merge(self):
        """As ``fuse_lora`` does."""
        for name in self.active_adapters:
            self.base_layer.weight += self.get_delta_weight(name)
            self.merged_adapters.append(name)

    def forward(self, x):
        result = self.base_layer(x)
        if not (self.merged or self.disable_adapters):
            for name in self.active_adapters:
                result = result + self.lora_B[name](self.lora_A[name](x)) * self.scaling[name]
        return result


def adapted(unet):
    """The wrapped layers of a UNet."""
    return [module for module in unet.modules() if isinstance(module, AdaptedLinear)]


def add_adapter(unet, name, scale, seed):
    """Load a random LoRA beside those that there are."""
    noise = torch.Generator().manual_seed(seed)
    for path, module in list(unet.named_modules()):
        if ADAPTED.search(path) and not isinstance(module, AdaptedLinear):
            unet.set_submodule(path, AdaptedLinear(module))
    unet.peft_config = {**getattr(unet, "peft_config", {}), name: None}
    for layer in adapted(unet):
        down, up = torch.nn.Linear(layer.in_features, 4, bias=False), torch.nn.Linear(4, layer.out_features, bias=False)
        for factor in (down, up):
            factor.weight.data = torch.randn(factor.weight.shape, generator=noise) * 0.2
        layer.lora_A[name], layer.lora_B[name] = down.requires_grad_(False), up.requires_grad_(False)
        layer.scaling[name] = scale
        layer.active_adapters.append(name)


def set_scale(unet, name, scale):
    for layer in adapted(unet):
        layer.scaling[name] = scale


def fused(unet):
    """The UNet with its LoRAs merged and their layers unwrapped."""
    for path, module in list(unet.named_modules()):
        if isinstance(module, AdaptedLinear):
            module.merge()
            unet.set_submodule(path, module.base_layer)
    return unet

"""Makes diffusers importable beside the huggingface-hub that gradio pins, imported before it; and prunes its UNets."""

from __future__ import annotations

import copy
import re

import huggingface_hub
import torch

# diffusers asks for a later huggingface-hub, for a file format that nothing here reads.
for name in ("DDUFEntry", "read_dduf_file"):
    if not hasattr(huggingface_hub, name):
        setattr(huggingface_hub, name, object)

PRUNED = re.compile(r"^(down|mid|up)_.*transformer_blocks\.\d+\.(attn1\.(to_[qkv]|to_out\.0)|ff\.net\.(0\.proj|2))$")


def pruned_copy(unet, ratios):
    """The UNet with the smallest weights of each group set to zero, by kthvalue over all of them together."""
    pruned = copy.deepcopy(unet)
    for group, ratio in ratios.items():
        weights = [m.weight.data for name, m in pruned.named_modules() if (f := PRUNED.match(name)) and f[1] == group]
        rank = int(sum(weight.numel() for weight in weights) * ratio)
        if rank:
            threshold = torch.cat([weight.abs().flatten() for weight in weights]).kthvalue(rank).values
            for weight in weights:
                weight[weight.abs() <= threshold] = 0.0
    return pruned

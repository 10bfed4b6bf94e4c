"""What of a UNet runs the same in both passes: all before the first pruned layer, and attention over the prompt."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import torch

from crdiff.patching import is_overridden_by_others

_STAGES = ("input_blocks", "middle_block", "output_blocks")
_CONTEXT = re.compile(r"\.transformer_blocks\.\d+\.attn2\.to_[kv]$")


def common_prefix(unet: torch.nn.Module, pruned: Collection[str]) -> tuple[torch.nn.Module, ...]:
    """The largest modules that run before the first pruned layer, in the order in which the UNet runs them.

    Only for UNets with LDM names, whose order is known; elsewhere there are none. Modules that other extensions have
    overridden or hooked are left out, with whatever they are part of, since a call of theirs may do more than compute.

    Args:
        unet: the UNet.
        pruned: names of the modules whose weights differ between the passes.
    """
    found: list[torch.nn.Module] = []
    for name, block in _blocks(unet):
        inside = [other for other in pruned if other.startswith(f"{name}.")]
        if inside:
            found += _before(name, block, inside)
            break
        found += _undisturbed(block)
    return tuple(found)


def context_projections(unet: torch.nn.Module, prefix: Collection[torch.nn.Module]) -> tuple[torch.nn.Module, ...]:
    """Cross-attention's keys and values of the prompt, beyond ``prefix``: the same in both passes of a step."""
    within = {id(module) for block in prefix for module in block.modules()}
    return tuple(
        module
        for name, module in unet.named_modules()
        if _CONTEXT.search(name) and id(module) not in within and not is_overridden_by_others(module)
    )


def _blocks(unet: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    for stage in _STAGES:
        module = getattr(unet, stage, None)
        if not isinstance(module, torch.nn.Module):
            return
        if stage == "middle_block":
            yield stage, module
        else:
            yield from ((f"{stage}.{name}", block) for name, block in module.named_children())


def _before(name: str, module: torch.nn.Module, pruned: Collection[str]) -> list[torch.nn.Module]:
    """What of a block of layers in sequence runs before its first pruned layer."""
    found: list[torch.nn.Module] = []
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}"
        if any(other.startswith(f"{path}.") for other in pruned):
            if hasattr(child, "transformer_blocks"):
                # A spatial transformer norms and projects before its first block; what it adds itself runs later.
                parts = (getattr(child, part, None) for part in ("norm", "proj_in"))
                found += [sound for part in parts if part is not None for sound in _undisturbed(part)]
            break
        found += _undisturbed(child)
    return found


def _undisturbed(module: torch.nn.Module) -> list[torch.nn.Module]:
    return [] if any(is_overridden_by_others(part) for part in module.modules()) else [module]

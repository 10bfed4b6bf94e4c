"""The UNets of Stable Diffusion 1.x, 2.x and XL, with LDM or diffusers names.

Pruned are the weights of the self-attention and feed-forward Linears inside transformer blocks; cross-attention,
projections, convolutions, norms and embeddings are not (paper 3.3 and the authors' published code).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

from crdiff.models.family import OTHER, Family
from crdiff.models.role import Role
from crdiff.patching import is_patched_by_others

if TYPE_CHECKING:
    import torch

SD15 = Family("sd15", "SD1.x")
SD21 = Family("sd21", "SD2.x")
SDXL = Family("sdxl", "SDXL", told_sizes=True)

_STAGES = {
    "input_blocks": "down",
    "middle_block": "mid",
    "output_blocks": "up",
    "down_blocks": "down",
    "mid_block": "mid",
    "up_blocks": "up",
}
# In the order they run in.
_LDM_STAGES = ("input_blocks", "middle_block", "output_blocks")
_DIFFUSERS_STAGES = ("time_embedding", "add_embedding", "conv_in", "down_blocks", "mid_block", "up_blocks")
_SINGLE = ("middle_block", "time_embedding", "add_embedding", "conv_in", "mid_block")
_CONTEXT_WIDTH = "attn2.to_k"
_BRANCH_ENDS = ("attn1.to_out.0", "ff.net.2")
# Anchored at the UNet, so that a ControlNet or an EMA copy in the same file does not count. What stands between
# the stage and the transformer block may vary: extensions wrap whole blocks and so lengthen the names.
_LAYER = re.compile(
    r"^(?:model\.diffusion_model\.|diffusion_model\.|unet\.)?"
    rf"(?P<stage>{'|'.join(_STAGES)})\.(?P<inside>(?:[^.]+\.)*?)transformer_blocks\.(?P<depth>\d+)\."
    r"(?P<part>attn1\.to_q|attn1\.to_k|attn1\.to_v|attn1\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2|attn2\.to_k)$"
)
_DEPTH = re.compile(r"\.transformer_blocks\.(\d+)$")
# AnimateDiff's layers, as diffusers names them and as the WebUI extension hangs them into the UNet's own blocks.
_OVER_TIME = ("motion_module", "temporal_transformer")
_CONTEXT = re.compile(r"\.transformer_blocks\.\d+\.attn2\.to_[kv]$")


class UNet:
    """See Architecture."""

    families: tuple[Family, ...] = (SD15, SD21, SDXL)

    def roles(self, names: Iterable[str]) -> dict[str, Role]:
        return {name: role for name in names if (role := self.role(name)) is not None}

    def role(self, name: str) -> Role | None:
        """Of a Linear by its name alone; None if it has none."""
        match = _LAYER.match(name)
        if match is None or any(word in match["inside"] for word in _OVER_TIME):
            return None
        block, part = name[: match.start("part") - 1], match["part"]
        ends_branch = part in _BRANCH_ENDS
        return Role(_STAGES[match["stage"]], block, part, pruned=part != _CONTEXT_WIDTH, ends_branch=ends_branch)

    def family(self, shapes: Mapping[str, tuple[int, ...]]) -> Family:
        """By the width of the text encoding, which the cross-attention keys show, and the depth of the transformers."""
        roles = self.roles(shapes)
        widths = {shapes[name][-1] for name, role in roles.items() if role.part == _CONTEXT_WIDTH}
        deep = any((match := _DEPTH.search(role.block)) and int(match[1]) > 0 for role in roles.values())
        if widths == {2048}:
            return SDXL
        if not deep and widths == {768}:
            return SD15
        if not deep and widths == {1024}:
            return SD21
        return OTHER

    def shared_prefix(self, model: torch.nn.Module, pruned: Collection[str]) -> tuple[torch.nn.Module, ...]:
        """Only for UNets with LDM or diffusers names, whose order is known; elsewhere there are none."""
        found: list[torch.nn.Module] = []
        for name, block in _blocks(model):
            inside = [other for other in pruned if other.startswith(f"{name}.")]
            if inside:
                found += _before(name, block, inside)
                break
            found += _unpatched(block)
        return tuple(found)

    def shared_projections(
        self, model: torch.nn.Module, prefix: Collection[torch.nn.Module]
    ) -> tuple[torch.nn.Module, ...]:
        """Cross-attention's keys and values of the prompt."""
        within = {id(module) for block in prefix for module in block.modules()}
        return tuple(
            module
            for name, module in model.named_modules()
            if _CONTEXT.search(name) and id(module) not in within and not is_patched_by_others(module)
        )


def _blocks(unet: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    ldm = hasattr(unet, _LDM_STAGES[0])
    for stage in _LDM_STAGES if ldm else _DIFFUSERS_STAGES:
        module = getattr(unet, stage, None)
        if stage in _SINGLE:
            if module is not None:
                yield stage, module
        elif module is None:
            return
        else:
            yield from ((f"{stage}.{name}", block) for name, block in module.named_children())


def _before(name: str, module: torch.nn.Module, pruned: Collection[str]) -> list[torch.nn.Module]:
    """What of a block runs before its first pruned layer."""
    found: list[torch.nn.Module] = []
    for child_name, child in _in_order(module):
        path = f"{name}.{child_name}"
        if any(other.startswith(f"{path}.") for other in pruned):
            if hasattr(child, "transformer_blocks"):
                # A spatial transformer norms and projects before its first block; what it adds itself runs later.
                parts = (getattr(child, part, None) for part in ("norm", "proj_in"))
                found += [sound for part in parts if part is not None for sound in _unpatched(part)]
            break
        found += _unpatched(child)
    return found


def _in_order(block: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The parts of a block as they run: LDM's one after the other, those of diffusers in turn."""
    resnets, attentions = getattr(block, "resnets", None), getattr(block, "attentions", None)
    if resnets is None or attentions is None:
        yield from block.named_children()
        return
    for index, pair in enumerate(zip_longest(resnets, attentions)):
        for name, part in zip(("resnets", "attentions"), pair):
            if part is not None:
                yield f"{name}.{index}", part


def _unpatched(module: torch.nn.Module) -> list[torch.nn.Module]:
    return [] if any(is_patched_by_others(part) for part in module.modules()) else [module]

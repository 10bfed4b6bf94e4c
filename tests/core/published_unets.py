"""Names and shapes of the Linears of the published UNets, written out from their architecture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Stack:
    """One spatial transformer: where it stands, how wide it is and how many blocks it has."""

    group: str
    ldm: str
    diffusers: str
    width: int
    depth: int


def _stacks(levels: list[tuple[int, int]]) -> list[Stack]:
    """From (width, depth) of each resolution level, finest first; depth 0 has no transformers there."""
    last = len(levels) - 1
    found = []
    for level, (width, depth) in enumerate(levels):
        for index in range(2 if depth else 0):
            place = f"down_blocks.{level}.attentions.{index}"
            found.append(Stack("down", f"input_blocks.{3 * level + index + 1}.1", place, width, depth))
    width, depth = levels[-1] if levels[-1][1] else (levels[-1][0], 1)
    found.append(Stack("mid", "middle_block.1", "mid_block.attentions.0", width, depth))
    for level, (width, depth) in reversed(list(enumerate(levels))):
        for index in range(3 if depth else 0):
            place = f"up_blocks.{last - level}.attentions.{index}"
            found.append(Stack("up", f"output_blocks.{3 * (last - level) + index}.1", place, width, depth))
    return found


SD1 = _stacks([(320, 1), (640, 1), (1280, 1), (1280, 0)])
SDXL = _stacks([(320, 0), (640, 2), (1280, 10)])
UNETS = {"sd15": (SD1, 768), "sd21": (SD1, 1024), "sdxl": (SDXL, 2048)}
# Segmind's SSD-1B: SDXL with fewer blocks and without a transformer in the middle.
SSD_1B = [stack for stack in _stacks([(320, 0), (640, 2), (1280, 4)]) if stack.group != "mid"]


def pruned_shapes(stacks: list[Stack], naming: str) -> dict[str, dict[str, tuple[int, int]]]:
    """By group, name -> (out, in) of the Linears that the paper prunes; naming is "ldm" or "diffusers"."""
    groups: dict[str, dict[str, tuple[int, int]]] = {"down": {}, "mid": {}, "up": {}}
    for stack in stacks:
        for depth in range(stack.depth):
            block = f"{getattr(stack, naming)}.transformer_blocks.{depth}"
            for part in ("to_q", "to_k", "to_v", "to_out.0"):
                groups[stack.group][f"{block}.attn1.{part}"] = (stack.width, stack.width)
            groups[stack.group][f"{block}.ff.net.0.proj"] = (8 * stack.width, stack.width)
            groups[stack.group][f"{block}.ff.net.2"] = (stack.width, 4 * stack.width)
    return groups


def other_shapes(stacks: list[Stack], naming: str, context: int) -> dict[str, tuple[int, int]]:
    """Name -> (out, in) of Linears in the same UNet that are not pruned."""
    shapes = {}
    for stack in stacks:
        place, width = getattr(stack, naming), stack.width
        shapes[f"{place}.proj_in"] = shapes[f"{place}.proj_out"] = (width, width)
        for depth in range(stack.depth):
            block = f"{place}.transformer_blocks.{depth}.attn2"
            shapes[f"{block}.to_q"] = shapes[f"{block}.to_out.0"] = (width, width)
            shapes[f"{block}.to_k"] = shapes[f"{block}.to_v"] = (width, context)
    if naming == "ldm":
        shapes |= {"time_embed.0": (1280, 320), "time_embed.2": (1280, 1280), "label_emb.0.0": (1280, 2816)}
        shapes |= {"input_blocks.1.0.emb_layers.1": (320, 1280), "middle_block.0.emb_layers.1": (1280, 1280)}
    else:
        shapes |= {"time_embedding.linear_1": (1280, 320), "add_embedding.linear_1": (1280, 2816)}
        shapes |= {"down_blocks.0.resnets.0.time_emb_proj": (320, 1280)}
    return shapes


def all_shapes(stacks: list[Stack], naming: str, context: int) -> dict[str, tuple[int, int]]:
    shapes = other_shapes(stacks, naming, context)
    for group in pruned_shapes(stacks, naming).values():
        shapes |= group
    return shapes


def build(shapes: dict[str, tuple[int, int]], root: nn.Module | None = None) -> nn.Module:
    """A module tree of Linears without memory, with these names."""
    root = nn.Module() if root is None else root
    for name, (out_features, in_features) in shapes.items():
        *parents, leaf = name.split(".")
        module = root
        for parent in parents:
            if parent not in module._modules:
                module.add_module(parent, nn.Module())
            module = module._modules[parent]
        module.add_module(leaf, nn.Linear(in_features, out_features, device="meta"))
    return root

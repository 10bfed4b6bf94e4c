"""The layers that CR-Diff prunes, found by their role in the UNet.

Pruned are the weights of the self-attention and feed-forward Linears inside transformer blocks; cross-attention,
projections, convolutions, norms and embeddings are not (paper 3.3 and the authors' published code).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from crdiff.errors import UnsupportedModelError
from crdiff.method.groups import GROUPS
from crdiff.models.family import Family, detect_family

_STAGES = {
    "input_blocks": "down",
    "middle_block": "mid",
    "output_blocks": "up",
    "down_blocks": "down",
    "mid_block": "mid",
    "up_blocks": "up",
}
# Anchored at the UNet, so that a ControlNet or an EMA copy in the same file does not count. What stands between
# the stage and the transformer block may vary: extensions wrap whole blocks and so lengthen the names.
_LAYER = re.compile(
    r"^(?:model\.diffusion_model\.|diffusion_model\.|unet\.)?"
    rf"(?P<stage>{'|'.join(_STAGES)})\.(?P<block>(?:[^.]+\.)*?)transformer_blocks\.(?P<depth>\d+)\."
    r"(?P<part>attn1\.to_q|attn1\.to_k|attn1\.to_v|attn1\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2|attn2\.to_k)$"
)
# AnimateDiff's layers, as diffusers names them and as the WebUI extension hangs them into the UNet's own blocks.
_OVER_TIME = ("motion_module", "temporal_transformer")


@dataclass(frozen=True)
class Role:
    """What a Linear does in the UNet.

    Attributes:
        group: ``down``, ``mid`` or ``up``.
        stack: name of the spatial transformer it belongs to.
        depth: index of its transformer block in that stack.
        part: ``attn1.to_q``, ..., ``ff.net.2``, or ``attn2.to_k``, which is not pruned but tells the context width.
    """

    group: str
    stack: str
    depth: int
    part: str

    @property
    def pruned(self) -> bool:
        """Whether the method prunes Linears of this role."""
        return self.part != "attn2.to_k"


def role_of(name: str) -> Role | None:
    """The role of a module by its name (LDM or diffusers names), None for a layer the method does not look at."""
    match = _LAYER.match(name)
    if match is None or any(word in match["block"] for word in _OVER_TIME):
        return None
    return Role(_STAGES[match["stage"]], f"{match['stage']}.{match['block']}", int(match["depth"]), match["part"])


def family_of(shapes: Mapping[str, tuple[int, ...]]) -> Family:
    """The family of a UNet from the (out, in) shapes of its Linears by name; other names are ignored."""
    roles = {name: role for name in shapes if (role := role_of(name)) is not None}
    widths = frozenset(shapes[name][-1] for name, role in roles.items() if not role.pruned)
    return detect_family(widths, max((role.depth + 1 for role in roles.values()), default=0))


@dataclass(frozen=True)
class PrunedLayer:
    """One Linear of a live UNet whose weight CR-Diff prunes.

    Attributes:
        name: the module's name inside the UNet.
        group: ``down``, ``mid`` or ``up``.
        module: the module; any class that multiplies by ``weight`` through ``torch.nn.functional.linear``.
    """

    name: str
    group: str
    module: torch.nn.Module

    @property
    def features(self) -> tuple[int, int]:
        """(out, in) features. Quantised storage hides them in ``weight.shape``, so the attributes come first."""
        weight = getattr(self.module, "weight", None)
        shape = tuple(getattr(weight, "shape", (0, 0)))
        return (getattr(self.module, "out_features", shape[0]), getattr(self.module, "in_features", shape[-1]))


@dataclass(frozen=True)
class UNetLayers:
    """The pruned layers of a live UNet and its family."""

    layers: tuple[PrunedLayer, ...]
    family: Family

    def group(self, name: str) -> tuple[PrunedLayer, ...]:
        """The layers of one group; empty where the model has none, as SSD-1B's mid group."""
        return tuple(layer for layer in self.layers if layer.group == name)


def _is_linear(module: torch.nn.Module) -> bool:
    """By weight, not by class: hosts bring their own Linear, which need not derive from nn.Linear."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.Tensor) and weight.ndim == 2


def find_layers(unet: torch.nn.Module) -> UNetLayers:
    """The pruned layers of ``unet`` in module order.

    Raises:
        UnsupportedModelError: the model has none, as DiT models and replaced UNets.
    """
    found: list[PrunedLayer] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in unet.named_modules():
        role = role_of(name)
        if role is None or not _is_linear(module):
            continue
        layer = PrunedLayer(name, role.group, module)
        shapes[name] = layer.features
        if role.pruned:
            found.append(layer)
    if not found:
        raise UnsupportedModelError(
            f"CR-Diff does not support this model ({type(unet).__name__}): it has no UNet transformer blocks to prune."
        )
    return UNetLayers(tuple(found), family_of(shapes))


def names_by_group(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of the pruned Linears by group, from module names or from ``*.weight`` keys without the suffix."""
    groups: dict[str, list[str]] = {group: [] for group in GROUPS}
    for name in names:
        role = role_of(name)
        if role is not None and role.pruned:
            groups[role.group].append(name)
    return groups

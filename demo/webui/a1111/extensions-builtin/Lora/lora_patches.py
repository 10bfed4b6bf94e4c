"""The class patches that let every layer look after its own weights."""

from __future__ import annotations

import torch

import networks
from modules import patches

KINDS = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.GroupNorm, torch.nn.LayerNorm)


class LoraPatches:
    def __init__(self) -> None:
        for kind in KINDS:
            name = kind.__name__
            forward = getattr(networks, f"network_{name}_forward")
            load = getattr(networks, f"network_{name}_load_state_dict")
            setattr(self, f"{name}_forward", patches.patch(__name__, kind, "forward", forward))
            setattr(self, f"{name}_load_state_dict", patches.patch(__name__, kind, "_load_from_state_dict", load))

    def undo(self) -> None:
        for kind in KINDS:
            patches.undo(__name__, kind, "forward")
            patches.undo(__name__, kind, "_load_from_state_dict")

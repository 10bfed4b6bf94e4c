"""LoRA files on disk and in memory."""

from __future__ import annotations

import os
from typing import Any

import torch

from modules import hashes


class NetworkOnDisk:
    def __init__(self, name: str, filename: str) -> None:
        self.name = name
        self.filename = filename
        self.alias = name
        self.metadata: dict[str, Any] = {}
        self.hash: str | None = None
        self.shorthash: str | None = None

    def read_hash(self) -> None:
        if not self.hash:
            self.hash = hashes.sha256(self.filename, f"lora/{self.name}")
            self.shorthash = self.hash[:12]


class NetworkModule:
    """The low-rank change of one layer."""

    def __init__(self, net: Network, network_key: str, weights: dict[str, torch.Tensor]) -> None:
        self.network = net
        self.network_key = network_key
        self.up = weights["lora_up.weight"]
        self.down = weights["lora_down.weight"]
        alpha = weights.get("alpha")
        self.scale = float(alpha) / self.down.shape[0] if alpha is not None else 1.0

    def multiplier(self) -> float:
        text = "transformer" in self.network_key[:20]
        return self.network.te_multiplier if text else self.network.unet_multiplier

    def calc_updown(self, orig_weight: torch.Tensor) -> tuple[torch.Tensor, None]:
        up, down = (x.to(orig_weight.device, torch.float32) for x in (self.up, self.down))
        return (up @ down).reshape(orig_weight.shape) * self.scale * self.multiplier(), None

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        up, down = self.up.to(x), self.down.to(x)
        return y + (x @ down.T @ up.T) * self.scale * self.multiplier()


class Network:
    def __init__(self, name: str, network_on_disk: NetworkOnDisk) -> None:
        self.name = name
        self.network_on_disk = network_on_disk
        self.te_multiplier = 1.0
        self.unet_multiplier = 1.0
        self.dyn_dim: int | None = None
        self.modules: dict[str, NetworkModule] = {}
        self.mtime = os.path.getmtime(network_on_disk.filename)
        self.mentioned_name: str | None = None

"""``<lora:name:weight>`` in prompts."""

from __future__ import annotations

from typing import Any

import networks
from modules import extra_networks, shared


class ExtraNetworkLora(extra_networks.ExtraNetwork):
    def __init__(self) -> None:
        super().__init__("lora")
        self.errors: dict[str, int] = {}

    def activate(self, p: Any, params_list: list) -> None:
        self.errors.clear()
        names, te, unet, dyn = [], [], [], []
        for params in params_list:
            positional, named = params.positional, params.named
            names.append(positional[0])
            te.append(float(named.get("te", positional[1] if len(positional) > 1 else 1.0)))
            unet.append(float(named.get("unet", positional[2] if len(positional) > 2 else te[-1])))
            dyn.append(int(named["dyn"]) if "dyn" in named else None)
        networks.load_networks(names, te, unet, dyn)
        if shared.opts.lora_add_hashes_to_infotext:
            hashes = {x.mentioned_name: x.network_on_disk.shorthash for x in networks.loaded_networks}
            if hashes:
                p.extra_generation_params["Lora hashes"] = ", ".join(f"{k}: {v}" for k, v in hashes.items())

    def deactivate(self, p: Any) -> None:
        if self.errors:
            p.comment("Networks with errors: " + ", ".join(f"{k} ({v})" for k, v in self.errors.items()))
            self.errors.clear()

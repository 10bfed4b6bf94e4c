"""``<lora:name:weight>`` in prompts, on either host: ``networks`` is the host's module that loads the files."""

from __future__ import annotations

from typing import Any

from modules import extra_networks, script_callbacks, shared


class ExtraNetworkLora(extra_networks.ExtraNetwork):
    def __init__(self, networks: Any) -> None:
        super().__init__("lora")
        self.networks = networks
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
        self.networks.load_networks(names, te, unet, dyn)
        hashes = {x.mentioned_name: x.network_on_disk.shorthash for x in self.networks.loaded_networks}
        if hashes and shared.opts.lora_add_hashes_to_infotext:
            p.extra_generation_params["Lora hashes"] = ", ".join(f"{k}: {v}" for k, v in hashes.items())

    def deactivate(self, p: Any) -> None:
        if self.errors:
            p.comment("Networks with errors: " + ", ".join(f"{k} ({v})" for k, v in self.errors.items()))
            self.errors.clear()


def register(networks: Any) -> None:
    """Called by the host's LoRA script: the network, its list in the API, and its setting."""

    def before_ui() -> None:
        networks.extra_network_lora = ExtraNetworkLora(networks)
        extra_networks.register_extra_network(networks.extra_network_lora)

    def api_networks(_demo: Any, app: Any) -> None:
        def get_loras() -> list[dict]:
            return [{"name": x.name, "alias": x.name, "path": x.filename} for x in networks.available_networks.values()]

        app.add_api_route("/sdapi/v1/loras", get_loras, methods=["GET"])

    script_callbacks.on_before_ui(before_ui)
    script_callbacks.on_app_started(api_networks)
    shared.options_templates.update(shared.options_section(("extra_networks", "Extra Networks"), {
        "lora_add_hashes_to_infotext": shared.OptionInfo(True, "Add Lora hashes to infotext"),
    }))

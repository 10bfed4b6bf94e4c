"""Registers LoRA with the host."""

from __future__ import annotations

from typing import Any

import extra_networks_lora
import lora_patches
import networks
from modules import extra_networks, script_callbacks, shared


def unload() -> None:
    networks.originals.undo()


def before_ui() -> None:
    networks.extra_network_lora = extra_networks_lora.ExtraNetworkLora()
    extra_networks.register_extra_network(networks.extra_network_lora)
    extra_networks.register_extra_network_alias(networks.extra_network_lora, "lyco")


def api_networks(_demo: Any, app: Any) -> None:
    def get_loras() -> list[dict]:
        return [{"name": x.name, "alias": x.alias, "path": x.filename, "metadata": x.metadata}
                for x in networks.available_networks.values()]

    app.add_api_route("/sdapi/v1/loras", get_loras, methods=["GET"])
    app.add_api_route("/sdapi/v1/refresh-loras", networks.list_available_networks, methods=["POST"])


networks.originals = lora_patches.LoraPatches()
script_callbacks.on_model_loaded(networks.assign_network_names_to_compvis_modules)
script_callbacks.on_script_unloaded(unload)
script_callbacks.on_before_ui(before_ui)
script_callbacks.on_app_started(api_networks)

shared.options_templates.update(shared.options_section(("extra_networks", "Extra Networks"), {
    "sd_lora": shared.OptionInfo("None", "Add network to prompt"),
    "lora_add_hashes_to_infotext": shared.OptionInfo(True, "Add Lora hashes to infotext"),
    "lora_in_memory_limit": shared.OptionInfo(0, "Number of Lora networks to keep cached in memory"),
}))
shared.options_templates.update(shared.options_section(("compatibility", "Compatibility"), {
    "lora_functional": shared.OptionInfo(False, "Lora/Networks: use the old method"),
}))

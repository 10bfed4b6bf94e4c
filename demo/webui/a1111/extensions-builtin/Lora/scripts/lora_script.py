"""Registers LoRA with the host."""

from __future__ import annotations

import networks
from common import lora
from modules import script_callbacks, shared


networks.patch_layers()
script_callbacks.on_model_loaded(networks.assign_network_names_to_compvis_modules)
lora.register(networks)
shared.options_templates.update(shared.options_section(("compatibility", "Compatibility"), {
    "lora_functional": shared.OptionInfo(False, "Lora/Networks: use the old method"),
}))

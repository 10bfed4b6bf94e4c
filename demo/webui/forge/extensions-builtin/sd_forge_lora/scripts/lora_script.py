"""Registers LoRA with the host."""

import networks
from common import lora

lora.register(networks)

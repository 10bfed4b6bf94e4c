"""Which host this is, told by features of the loaded model and never by name."""

from __future__ import annotations

from typing import Any

from crdiff.webui.hosts.a1111 import A1111
from crdiff.webui.hosts.base import Host
from crdiff.webui.hosts.forge import Forge
from crdiff.webui.hosts.ldm_patched import LdmPatched


def select_host(sd_model: Any) -> Host:
    """The host module for a loaded model."""
    objects = getattr(sd_model, "forge_objects", None)
    if objects is None:
        return A1111()
    model = objects.unet.model
    return Forge() if hasattr(model, "computation_dtype") else LdmPatched()

"""What tests do inside a host's process. Every function gets the running host first."""

from __future__ import annotations

import hashlib
from typing import Any

HIRES = {"enable_hr": True, "denoising_strength": 0.6, "hr_scale": 1.5}
FORGE_HIRES = {**HIRES, "hr_additional_modules": ["Use same choices"]}


def probe() -> Any:
    import sys

    return sys.modules["probe_package"]


def is_forge(host: Any) -> bool:
    return host.config.flavour == "forge"


def at_start(host: Any) -> dict[str, Any]:
    """Looks, and touches nothing that would load a model."""
    events = probe().events
    return {"tabs": [event[1] for event in events if event[0] == "ui"], "names": [event[0] for event in events],
            "components": [event[1] for event in events if event[0] == "component"],
            "model": type(host.shared.sd_model).__name__}


def digest(result: Any) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest()[:12] for image in result.images]


def unet(host: Any) -> Any:
    model = host.shared.sd_model
    return (model.forge_objects.unet.model if is_forge(host) else model.model).diffusion_model


def layer(host: Any) -> Any:
    return unet(host).middle_block[1].transformer_blocks[0].attn1.to_q


def draw(host: Any, tab: str = "txt2img", **fields: Any) -> dict[str, Any]:
    """A picture: what the probe saw, the digests of the pictures, the infotexts."""
    seen = probe()
    seen.events.clear()
    result = getattr(host, tab)(fields)
    return {"events": list(seen.events), "digests": digest(result), "infotexts": result.infotexts,
            "sizes": [image.size for image in result.images], "info": result.info}


def hooks(events: list[tuple]) -> list[str]:
    return [event[0] for event in events]


def draw_with(host: Any, actions: dict[str, Any], tab: str = "txt2img", **fields: Any) -> dict[str, Any]:
    """The same with actions at hooks; module-level functions, so that they can travel here."""
    seen = probe()
    seen.clear()
    seen.actions.update(actions)
    try:
        return draw(host, tab, **fields)
    finally:
        seen.clear()

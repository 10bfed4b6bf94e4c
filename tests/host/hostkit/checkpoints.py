"""What a checkpoint is, read from the names and shapes in its file."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNET = "model.diffusion_model."
_FAMILIES = {("sd15", 768): "sd15", ("sd15", 1024): "sd21", ("sdxl", 2048): "sdxl"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint the WebUI offers.

    Attributes:
        title: what the API calls it.
        layout: ``sd15`` or ``sdxl``, by its key names.
        family: the family whose presets apply, None for a UNet of other widths.
        inpainting: whether the UNet also takes the mask and the masked picture.
        config: the WebUI's own configuration of its shape; two checkpoints that share it can share modules.
    """

    title: str
    layout: str
    family: str | None
    inpainting: bool
    config: str


def read_checkpoint(entry: dict[str, Any]) -> Checkpoint | None:
    """A checkpoint from the API's list; None if its file is not a safetensors UNet this suite knows."""
    path = Path(entry["filename"])
    if path.suffix != ".safetensors":
        return None
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(length))
    shapes = {name: tuple(value["shape"]) for name, value in header.items() if name != "__metadata__"}
    stem = shapes.get(_UNET + "input_blocks.0.0.weight")
    contexts = {shape[1] for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")}
    if stem is None or len(contexts) != 1:
        return None
    layout = "sdxl" if any(name.startswith("conditioner.") for name in shapes) else "sd15"
    sibling = path.with_suffix(".yaml")
    return Checkpoint(
        title=entry["title"],
        layout=layout,
        family=_FAMILIES.get((layout, contexts.pop())),
        inpainting=stem[1] == 9,
        config=str(sibling) if sibling.exists() else f"{layout} {stem}",
    )

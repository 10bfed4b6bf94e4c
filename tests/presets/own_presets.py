"""What the tests of own presets share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crdiff.method.groups import Ratios
from crdiff.models.unet import SDXL
from crdiff.presets.built_in import load_folder
from crdiff.presets.size import Size
from crdiff.presets.store import PresetStore
from crdiff.presets.table import Preset

SHIPPED = load_folder(Path(__file__).resolve().parents[2] / "presets").presets
BUILT_IN = [preset.name for preset in SHIPPED]


def preset(name: str = "cats", down: float = 0.1, **more: Any) -> Preset:
    return Preset.own(name, SDXL, Size(640, 896), Ratios(down, 0.2, 0.3), **more)


def names(store: PresetStore) -> list[str]:
    loaded = store.load()
    assert loaded.problems == ()
    return [own.name for own in loaded.presets]

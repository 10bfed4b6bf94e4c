"""``python -m demo.evaluate.criteria_presets FILE...``: what ``demo.evaluate.criteria`` found at k = 1, as presets."""

from __future__ import annotations

import argparse
from pathlib import Path

from crdiff import console
from crdiff.method.groups import Ratios
from crdiff.models.family import OTHER
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from demo.evaluate.cells import Cell, Measured
from demo.prepare import CRITERION, PRESETS

FREE = "k = 1"
"""What is varied: one pass a step is then enough."""


def preset_of(cell: Cell, checkpoint: str, note: str) -> Preset:
    """What was found at a size, as its preset."""
    ratios = Ratios(*(round(ratio, 3) for ratio in cell.ratios))
    name, size = f"Demo {cell.size} {cell.criterion}", Size.parse(cell.size)
    return Preset.own(name, OTHER, size, ratios, round(cell.k, 3), checkpoint, note, criterion=cell.criterion)


def presets_of(measured: Measured, criterion: str) -> list[Preset]:
    """A preset for each size that the criterion was measured at."""
    protocol = measured.protocol
    note = f"{protocol.evaluations} evaluations of {protocol.search_prompts} prompts at k = 1"
    cells = (measured.of(size, criterion, FREE) for size in measured.sizes())
    return [preset_of(cell, protocol.checkpoint, note) for cell in cells if cell is not None]


def main() -> None:
    """Writes the presets into a file, those of other criteria kept."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", type=Path, nargs="+", help="JSON of python -m demo.evaluate.criteria")
    parser.add_argument("--criterion", default=CRITERION)
    parser.add_argument("--presets", type=Path, default=PRESETS, help="the presets to keep")
    parser.add_argument("--out", type=Path, default=PRESETS)
    options = parser.parse_args()
    found = presets_of(Measured.read_all(options.files), options.criterion)
    kept = [one for one in from_text(options.presets.read_text("utf-8")) if one.criterion != options.criterion]
    options.out.write_text(to_text([*kept, *found]), encoding="utf-8")
    for preset in found:
        print(f"{preset.name}: {preset.ratios}, k {preset.k:g}")


if __name__ == "__main__":
    main()

"""``python -m demo.evaluate.confirm``: what ``demo.evaluate.search_presets`` found, on captions after those that judge.

Beside it stand the presets that it began with, and two settings with one ratio for all groups, which no search is
needed for. Nothing was chosen by these captions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from crdiff import console
from crdiff.presets.size import Size
from crdiff.search.strategies.point import DENSE, Point
from demo.evaluate.cells import DENSE_NAME, Cell, Key, Measured, row
from demo.evaluate.criteria import Bench, kept_results
from demo.evaluate.judge import Interval, Judge, gain_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.search_presets import PRESET, SEARCHED, known_cell
from demo.evaluate.uniform import Uniform
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes

FOUND = Path(__file__).resolve().parents[2] / "docs" / "demo-presets.json"
RIVALS = (Uniform("attenuation", 0.15), Uniform("attenuation", 0.1, 1.5))
NAMES = {SEARCHED: "found by the search", PRESET: "the preset before", "": DENSE_NAME}
_ALL = 10_000


def contenders(found: Measured, size: str) -> list[tuple[Key, Point]]:
    """The dense model, the search's winner at a size, the preset before it and the settings with one ratio.

    Raises:
        SystemExit: the file has no search of this size.
    """
    asked: list[tuple[Key, Point]] = [((size, DENSE_NAME, "", ""), DENSE)]
    for varied in (SEARCHED, PRESET):
        cell = next((one for one in found.cells.values() if (one.size, one.varied) == (size, varied)), None)
        if cell is None:
            raise SystemExit(f"No search at {size} was kept.")
        asked.append((cell.key, Point(*cell.ratios, cell.k)))
    return [*asked, *((rival.key(Size.parse(size)), rival.point) for rival in RIVALS)]


def table(measured: Measured) -> list[str]:
    """Markdown with a row for each setting: captions right at each size, and how far beyond the search's winner."""
    sizes = measured.sizes()
    lines = [row(["setting", *sizes, "all sizes"]), row(["---"] * (len(sizes) + 2))]
    settings: dict[str, dict[str, Cell]] = {}
    for cell in measured.cells.values():
        name = NAMES.get(cell.varied) or f"{cell.criterion}, {cell.varied}"
        settings.setdefault(name, {})[cell.size] = cell
    winners = settings[NAMES[SEARCHED]]
    for name, cells in settings.items():
        shown = [f"{100 * measured.right(cells[size]).value:.1f}" for size in sizes]
        if cells is not winners:
            gains = [measured.gain(cells[size], winners[size]) for size in sizes]
            shown = [f"{text} ({_told(gain)})" for text, gain in zip(shown, gains) if gain]
            shown.append(_told(_over_all(measured, [cells[size] for size in sizes], [winners[size] for size in sizes])))
        lines.append(row([name, *shown, *([""] if cells is winners else [])]))
    return lines


def _over_all(measured: Measured, cells: Sequence[Cell], others: Sequence[Cell]) -> Interval:
    """The mean difference over the sizes; a caption is drawn at each of them, so captions are what varies."""
    ours, theirs = (np.mean([measured.by_caption(cell) for cell in some], axis=0) for some in (cells, others))
    return gain_interval(ours, theirs)


def _told(gain: Interval) -> str:
    text = f"{100 * gain.value:+.1f} ± {50 * (gain.high - gain.low):.1f}"
    return f"**{text}**" if gain.low > 0.0 or gain.high < 0.0 else text


def main() -> None:
    """Draws what the file of results lacks, and prints the table of all of it."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", help="HEIGHTxWIDTH; by default all that were searched")
    parser.add_argument("--found", type=Path, default=FOUND, help="JSON of python -m demo.evaluate.search_presets")
    parser.add_argument("--captions", type=int, default=_ALL, help="at most")
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--json", type=Path, help="results; what it holds is not drawn again")
    parser.add_argument("--merge", type=Path, nargs="*", default=[], help="files of other runs, for other sizes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, judge, searched = (
        DemoModel(options.checkpoint, options.device),
        Judge(device=options.device),
        Measured.read(options.found),
    )
    seen = searched.protocol.prompts
    protocol = replace(searched.protocol, checkpoint=model.sha256, prompts=len(judging_scenes(seen + options.captions)))
    measured = kept_results(options.json, protocol)
    for path in options.merge:
        measured.cells.update(kept_results(path, protocol).cells)
    bench = Bench(model, judge, protocol, options.batch, Path())
    for size in options.sizes or searched.sizes():
        for key, point in contenders(searched, size):
            if key in measured.cells:
                continue
            same = known_cell(measured.cells.values(), key, point)
            measured.cells[key] = same or bench.judged(key, point, slice(seen, None))
            print(row([*key, str(measured.right(measured.cells[key]))]), flush=True)
            if options.json:
                measured.write(options.json)
    print("\n".join(table(measured)))


if __name__ == "__main__":
    main()

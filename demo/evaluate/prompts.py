"""``python -m demo.evaluate.prompts``: does a search for one prompt pay, against a preset, and against other seeds?

Everything is drawn, searched and judged by the demo's WebUI, through its API.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crdiff import console
from crdiff.presets.own_document import from_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.search.strategies.point import DENSE, Point
from crdiff.specs import DEFAULT_K
from demo.evaluate.by_api import Studio, webui_at
from demo.evaluate.judge import gain_interval, mean_interval
from demo.evaluate.model import Drawing
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import Scene, judging_scenes

SEARCH_SEEDS = (1, 2)
"""Image seeds that a search sees."""

OTHER_SEEDS = (11, 12, 13, 14)
"""Image seeds that it does not."""

DENSE_SEEDS = 1000
"""The first image seed of the dense images that compete."""


@dataclass(frozen=True)
class PromptScores:
    """Mean scores of one prompt's images.

    Attributes:
        dense: of the dense model with the seeds of the search.
        preset: of the size's preset with them.
        search: of the ratios found with them; seen by the search, hence flattering.
        dense_elsewhere: of the dense model with other seeds.
        preset_elsewhere: of the preset with other seeds.
        search_elsewhere: of the ratios found, with other seeds.
        best_image: the best single image that the search drew.
        best_dense: the best of as many dense images as the search drew.
    """

    dense: float
    preset: float
    search: float
    dense_elsewhere: float
    preset_elsewhere: float
    search_elsewhere: float
    best_image: float
    best_dense: float


NAMES = tuple(entry.name for entry in fields(PromptScores))


def measure(studio: Studio, preset: Preset, scene: Scene, evaluations: int) -> PromptScores:
    """Searches ratios for one scene at the preset's size, and draws what they are compared with.

    The search is annealing from the preset and the dense model, with k held at the preset's.

    Raises:
        AbortSearchError: the search did not come to its end.
    """
    caption = scene.caption()
    start = Point(*preset.ratios, DEFAULT_K if preset.k is None else preset.k)
    found = studio.search(caption, start, SEARCH_SEEDS, evaluations)
    dense_seeds = range(DENSE_SEEDS, DENSE_SEEDS + len(found.images))
    return PromptScores(
        dense=found.dense,
        preset=found.start,
        search=found.score,
        dense_elsewhere=fmean(studio.scores(DENSE, caption, OTHER_SEEDS)),
        preset_elsewhere=fmean(studio.scores(start, caption, OTHER_SEEDS)),
        search_elsewhere=fmean(studio.scores(found.point, caption, OTHER_SEEDS)),
        best_image=max(found.images),
        best_dense=max(studio.scores(DENSE, caption, dense_seeds)),
    )


def measured_once(
    studio: Studio, preset: Preset, scene: Scene, evaluations: int, drawing: Drawing, work: Path
) -> PromptScores:
    """``measure``, or what an earlier run kept of it in ``work``."""
    about = [studio.checkpoint.sha256, str(preset.size), *preset.ratios, preset.k, evaluations, drawing.steps]
    file = work / f"{preset.size}-{scene.caption().replace(' ', '-')}.json"
    if file.is_file():
        kept = json.loads(file.read_text("utf-8"))
        if kept["about"] == about:
            return PromptScores(**kept["scores"])
    scores = measure(studio, preset, scene, evaluations)
    file.write_text(json.dumps({"about": about, "scores": vars(scores)}), encoding="utf-8")
    return scores


def table(found: dict[str, list[PromptScores]]) -> list[str]:
    """Means over prompts x 100 with 95 % intervals, and the gains over dense and preset, prompt by prompt."""
    columns = {size: _columns(scores) for size, scores in found.items()}
    lines = [f"| score x 100 (95 % interval) | {' | '.join(found)} |", "|---" * (len(found) + 1) + "|"]

    def add(name: str, cell: Any) -> None:
        lines.append(f"| {name} | {' | '.join(cell(column) for column in columns.values())} |")

    for name in NAMES:
        add(_TITLES[name], lambda column, name=name: str(mean_interval(column[name])))
    for name, other in _GAINS:
        title = f"gain: {_TITLES[name]}, over {_TITLES[other]}"
        add(title, lambda column, pair=(name, other): gain_interval(column[pair[0]], column[pair[1]]).as_gain())
    return lines


def _columns(scores: Sequence[PromptScores]) -> dict[str, NDArray[np.float64]]:
    return {name: np.array([getattr(one, name) for one in scores]) for name in NAMES}


_TITLES = {
    "dense": "dense, the search's seeds",
    "preset": "preset, the search's seeds",
    "search": "ratios for the prompt, the search's seeds",
    "dense_elsewhere": "dense, other seeds",
    "preset_elsewhere": "preset, other seeds",
    "search_elsewhere": "ratios for the prompt, other seeds",
    "best_image": "best image of the search",
    "best_dense": "best of as many dense images",
}
_GAINS = (
    ("search", "dense"),
    ("search_elsewhere", "dense_elsewhere"),
    ("search_elsewhere", "preset_elsewhere"),
    ("best_image", "best_dense"),
)


def main() -> None:
    """Prints the table and keeps every prompt's scores; what is kept is not drawn again."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", help="HEIGHTxWIDTH")
    parser.add_argument("--prompts", type=int, default=30)
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--url", help="of a running demo (default: one is started)")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="of the demo that is started")
    parser.add_argument("--presets", type=Path, default=PRESETS)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/prompts"))
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    drawing, known = Drawing(steps=options.steps), from_text(options.presets.read_text("utf-8"), options.presets.name)
    presets = [preset for preset in known if preset.criterion == DEFAULT_CRITERION]
    found: dict[str, list[PromptScores]] = {}
    with webui_at(options.url, options.checkpoint) as webui:
        for size in map(Size.parse, options.sizes):
            studio = Studio(webui, size, drawing.steps, drawing.guidance)
            sha256 = studio.checkpoint.sha256
            preset = next((one for one in presets if one.size == size and sha256 in one.checkpoints), None)
            if preset is None:
                raise SystemExit(f"There is no preset for {size} and this checkpoint.")
            for scene in judging_scenes(options.prompts):
                scores = measured_once(studio, preset, scene, options.evaluations, drawing, options.work)
                found.setdefault(str(size), []).append(scores)
                shown = {name: round(vars(scores)[name], 3) for name in NAMES}
                print(size, scene.caption(), json.dumps(shown), flush=True)
            if options.json:
                kept = {size: [vars(one) for one in scores] for size, scores in found.items()}
                options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(found)))


if __name__ == "__main__":
    main()

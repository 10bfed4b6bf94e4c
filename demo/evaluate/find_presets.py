"""``python -m demo.evaluate.find_presets``: ratios for the demo's sizes by the paper's search, as a preset file."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from crdiff.model.family import Family
from crdiff.presets.size import Size
from crdiff.presets.store import from_text, to_text
from crdiff.presets.table import Preset
from crdiff.pruning.ratios import Ratios
from crdiff.search.annealing import Schedule, SimulatedAnnealing
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.search import Budget, Report, Search
from crdiff.search.space import START, Point, Space
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import NATIVE, OTHER_SIZES, Scene, search_scenes

SIZES = tuple(f"{height}x{width}" for height, width in ((NATIVE, NATIVE), *OTHER_SIZES))
"""Height x width in pixels."""

STARTS = (0.3, 0.5, 0.7)
"""Ratios of the candidate seeds, the same for all groups."""

TEMPERATURE = 0.02


def find(model: DemoModel, judge: Judge, size: Size, options: argparse.Namespace) -> Report:
    """The search at one size; the score is the probability of the caption, with POA off (k = 1) as the authors do."""
    drawing = Drawing(steps=options.steps)

    def evaluate_many(ratios: Ratios, k: float, pictures: Sequence[tuple[str, int]]) -> list[float]:
        prompts, seeds = [prompt for prompt, _ in pictures], [seed for _, seed in pictures]
        drawn = model.draw(prompts, seeds, (size.height, size.width), ratios, k, drawing)
        return judge.verdict(drawn, [Scene.from_caption(prompt) for prompt in prompts]).scores.tolist()

    prompts = tuple(scene.caption() for scene in search_scenes(options.prompts))
    objective = Objective(prompts, (1,), evaluate_many=evaluate_many, batch=drawing.batch, highest=1.0)
    space = Space(fixed=START.moved("k", 1.0))
    # The authors' temperature is for ImageReward, which spans about ten times as much as a probability here.
    schedule = Schedule(iterations=options.evaluations, temperature=TEMPERATURE)
    starts = tuple(Point(ratio, ratio, ratio, 1.0) for ratio in STARTS)
    strategy = SimulatedAnnealing(space, starts, seed=0, schedule=schedule)
    identity = {"checkpoint": model.sha256, "size": str(size), "steps": drawing.steps, "guidance": drawing.guidance}
    journal = Journal(options.work / f"search-{size}-{model.sha256[:8]}.jsonl", identity)
    began = time.monotonic()

    search = Search(space, strategy, objective, journal, baseline=Point(0.0, 0.0, 0.0, 1.0))
    report = search.run(Budget(evaluations=options.evaluations))
    print(f"{size}: {report.state}, {report.message} {time.monotonic() - began:.0f} s", flush=True)
    return report


def main() -> None:
    """Searches each size and writes the presets, those of other sizes kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--evaluations", type=int, default=30)
    parser.add_argument("--prompts", type=int, default=40)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/search"))
    parser.add_argument("--out", type=Path, default=PRESETS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint), Judge()
    for text in options.sizes:
        size = Size.parse(text)
        report = find(model, judge, size, options)
        # The dense model is measured for comparison only; as in the paper, the table holds the best pruned one.
        tried = [entry for entry in report.history if entry.kind != "baseline" and entry.score is not None]
        if not tried:
            raise SystemExit(f"{size}: {report.message}")
        best = max(tried, key=lambda entry: entry.score or 0.0)
        ratios = Ratios(*(round(value, 3) for value in best.point.ratios))
        note = f"{report.evaluations} evaluations of {options.prompts} prompts; score {best.score:.3f}"
        if report.baseline is not None and report.baseline.score is not None:
            note += f", dense {report.baseline.score:.3f}"
        preset = Preset.own(f"Demo {size}", Family.OTHER, size, ratios, None, model.sha256, note)
        kept = from_text(options.out.read_text("utf-8"), options.out.name) if options.out.is_file() else ()
        kept = tuple(old for old in kept if old.size != size and model.sha256 in old.checkpoints)
        options.out.write_text(to_text([*kept, preset]), encoding="utf-8")
        print(json.dumps({"size": str(size), "ratios": list(ratios), "note": note}), flush=True)


if __name__ == "__main__":
    main()

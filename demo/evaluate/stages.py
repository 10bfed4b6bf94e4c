"""``python -m demo.evaluate.stages``: stages against one stage at equal budgets, on captions that no search has seen.

Each search varies ratios and k, in every stage, and its find is confirmed as ``demo.evaluate.find_presets`` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crdiff import console
from crdiff.files import write_atomically
from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA, DEFAULT_CRITERION
from crdiff.search.strategies.point import DENSE, MAX_STAGES, Point
from demo.evaluate.compare import Sample
from demo.evaluate.find_presets import Variant, best_confirmed
from demo.evaluate.judge import Judge, gain_interval, mean_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.prepare import CHECKPOINT
from demo.scenes.scene import judging_scenes

DENSE_NAME = "dense"
JUDGED_SEEDS = (1, 2)
"""Of the starting noises of every caption that is judged."""


def judged(
    model: DemoModel, judge: Judge, size: Size, criterion: str, point: Point, options: argparse.Namespace
) -> dict[str, Any]:
    """A configuration on the captions for judging: a digit for every image, 1 where its caption is right."""
    sample = Sample(tuple(judging_scenes(options.judged)), JUDGED_SEEDS)
    drawing = Drawing(steps=options.steps, batch=options.batch, criterion=criterion)
    images = sample.draw(model, size, point.merged.schedule, point.k, drawing)
    verdict = judge.verdict(images, sample.asked)
    return {"point": point.to_dict(), "right": "".join("01"[bool(one)] for one in verdict.right)}


def shares(found: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """For every caption the share of its images that are right, over all searches."""
    digits = [[float(one) for one in result["right"]] for result in found]
    averaged: NDArray[np.float64] = np.array(digits).mean(axis=0).reshape(-1, len(JUDGED_SEEDS)).mean(axis=1)
    return averaged


def table(results: dict[str, dict[str, list[dict[str, Any]]]]) -> list[str]:
    """Markdown with a line for each kind of search: captions right, beyond dense, and beyond one stage."""
    lines = [
        "| size | criterion, stages | searches | captions right, % | beyond dense | beyond one stage |",
        "|---" * 6 + "|",
    ]
    for size, found in results.items():
        dense = shares(found[DENSE_NAME])
        for name, searches in found.items():
            ours = shares(searches)
            criterion, _, stages = name.partition(", ")
            cells = [size, name, str(len(searches)), str(mean_interval(ours)), "", ""]
            cells[4] = "" if name == DENSE_NAME else gain_interval(ours, dense).as_gain()
            one = found.get(f"{criterion}, 1", [])[: len(searches)]
            if stages not in ("", "1") and len(one) == len(searches):
                cells[5] = gain_interval(ours, shares(one)).as_gain()
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Searches and judges, writing the file after each search, and prints the table; what it holds is kept."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["80x128", "96x128"], help="HEIGHTxWIDTH")
    parser.add_argument("--criteria", nargs="*", default=[DEFAULT_CRITERION], choices=list(CRITERIA))
    parser.add_argument("--stages", type=int, nargs="*", default=[1, 3], choices=range(1, MAX_STAGES + 1))
    parser.add_argument("--searches", type=int, default=2, help="of each kind, with seeds of their own")
    parser.add_argument("--evaluations", type=int, default=32, help="of each search")
    parser.add_argument("--prompts", type=int, default=50, help="captions that a search sees")
    parser.add_argument("--judged", type=int, default=200, help="captions that its find is judged by")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/stages"), help="folder of the journals")
    parser.add_argument("--json", type=Path, help="file for all results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # a GPU's tensor cores; scores are means over many images
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    kept = options.json is not None and options.json.is_file()
    results: dict[str, dict[str, list[dict[str, Any]]]] = json.loads(options.json.read_text("utf-8")) if kept else {}
    for seed in range(options.searches):
        for name in options.sizes:
            size, found = Size.parse(name), results.setdefault(name, {})
            if not found:
                found[DENSE_NAME] = [judged(model, judge, size, DEFAULT_CRITERION, DENSE, options)]
            for criterion in options.criteria:
                for stages in options.stages:
                    searches = found.setdefault(f"{criterion}, {stages}", [])
                    if len(searches) > seed:
                        continue
                    variant = Variant(criterion, True, stages, seed)
                    point, score = best_confirmed(model, judge, size, variant, options)
                    outcome = judged(model, judge, size, criterion, point, options)
                    searches.append({"score": score, **outcome})
                    print(f"{name}, {criterion}, {stages}, search {seed}: {point}", flush=True)
                    if options.json:
                        write_atomically(options.json, json.dumps(results, indent=1).encode())
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()

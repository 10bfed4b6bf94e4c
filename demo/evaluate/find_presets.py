"""``python -m demo.evaluate.find_presets``: ratios for the demo's sizes, as a preset file.

As the paper searches: at k = 1, by annealing, with k chosen afterwards. ``python -m demo.evaluate.search_presets``
searches criterion, ratios and k together.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from crdiff import console
from crdiff.method.groups import GROUPS, Ratios
from crdiff.models.family import OTHER
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset, same_use
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.search.journal import Journal
from crdiff.search.objective import Objective
from crdiff.search.report import Report
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.annealing import Schedule, SimulatedAnnealing
from crdiff.search.strategies.evolution import Evolution
from crdiff.search.strategies.point import AXES, PAPER_K, START, Point, rounded
from crdiff.search.strategies.space import K_BOUNDS, RATIO_BOUNDS, Space
from crdiff.search.strategies.strategy import Strategy
from demo.evaluate.amplification import try_amplifications
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import scores_at
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import NATIVE, OTHER_SIZES, search_scenes

SIZES = tuple(f"{height}x{width}" for height, width in ((NATIVE, NATIVE), *OTHER_SIZES))
"""Height x width in pixels."""

STARTS = (0.1, 0.3, 0.5)
"""Ratios of the candidate seeds, the same for all groups."""

WEAK_STARTS = (0.03, 0.1, 0.3)
"""The same where a criterion helps at smaller ratios than the paper's."""

WIDE_BOUNDS = (0.01, 0.8)
"""Of the ratios of such a criterion."""

K_START = 1.5
"""k of the candidate seeds, where it is varied."""

FINALISTS = 3
"""Configurations of a search that are drawn once more with other noises."""

TEMPERATURE = 0.02

AMPLIFICATIONS = (1.0, 1.5, 2.0)
"""What k is chosen from, once the ratios are found."""

K_SEEDS = (2, 3)
"""Image seeds of that choice, on all prompts of the search; the ratios are found with seed 1."""


@dataclass(frozen=True)
class Variant:
    """What is searched.

    Attributes:
        criterion: a name in ``CRITERIA``.
        vary_k: whether k is varied, in every stage; else it is 1.
        stages: of equal length.
        seed: of the search.
    """

    criterion: str = DEFAULT_CRITERION
    vary_k: bool = False
    stages: int = 1
    seed: int = 0

    @property
    def name(self) -> str:
        """For files; empty for the paper's search."""
        if self == Variant():
            return ""
        return f"-{self.criterion}-{self.stages}-{'k' if self.vary_k else 'k1'}-{self.seed}"

    @property
    def space(self) -> Space:
        """What may be varied; other criteria than the paper's help at smaller ratios too."""
        ratios = RATIO_BOUNDS if self.criterion == DEFAULT_CRITERION else WIDE_BOUNDS
        axes = AXES if self.vary_k else GROUPS
        fixed = START.moved("k", PAPER_K)
        return Space.vary(axes, fixed=fixed, ratios=ratios, k=K_BOUNDS, stages=self.stages, k_by_stage=self.vary_k)

    def strategy(self, evaluations: int) -> Strategy:
        """The paper's at k = 1, evolution where k is varied too."""
        ratios = STARTS if self.criterion == DEFAULT_CRITERION else WEAK_STARTS
        starts = tuple(Point(ratio, ratio, ratio, K_START if self.vary_k else PAPER_K) for ratio in ratios)
        if self.vary_k:
            return Evolution(self.space, starts, self.seed)
        # The authors' temperature is for ImageReward, which spans about ten times as much as a probability here.
        schedule = Schedule(iterations=evaluations, temperature=TEMPERATURE)
        return SimulatedAnnealing(self.space, starts, self.seed, schedule)


def find(model: DemoModel, judge: Judge, size: Size, variant: Variant, options: argparse.Namespace) -> Report:
    """The search at one size; the score is the probability of the caption."""
    drawing = Drawing(steps=options.steps, batch=options.batch, criterion=variant.criterion)
    prompts = tuple(scene.caption() for scene in search_scenes(options.prompts))
    many = scores_at(model, judge, size, drawing)
    objective = Objective(prompts, (1,), evaluate_many=many, batch=drawing.batch, highest=1.0, racing="likely")
    identity = {"checkpoint": model.sha256, "size": str(size), "steps": drawing.steps, "guidance": drawing.guidance}
    journal = Journal(options.work / f"ratios-{size}{variant.name}-{model.sha256[:8]}.jsonl", identity)
    began = time.monotonic()
    strategy = variant.strategy(options.evaluations)
    search = Search(variant.space, strategy, objective, journal, baseline=Point(0.0, 0.0, 0.0, PAPER_K))
    report = search.run(Budget(evaluations=options.evaluations))
    print(f"{size}{variant.name}: {report.state}, {report.message} {time.monotonic() - began:.0f} s", flush=True)
    return report


def best_confirmed(
    model: DemoModel, judge: Judge, size: Size, variant: Variant, options: argparse.Namespace
) -> tuple[Point, float]:
    """The configuration, of the best few of a search, that scores best on noises which it has not seen; its score."""
    report = find(model, judge, size, variant, options)
    tried = {rounded(one.point): one for one in report.history if one.score is not None and one.kind != "baseline"}
    if not tried:
        raise SystemExit(f"{size}: {report.message}")
    finalists = sorted(tried.values(), key=lambda one: -(one.score or 0.0))[:FINALISTS]
    drawing = Drawing(steps=options.steps, batch=options.batch, criterion=variant.criterion)
    evaluate = scores_at(model, judge, size, drawing)
    images = [(scene.caption(), K_SEEDS[0]) for scene in search_scenes(options.prompts)]
    scores = {one.point.rounded: fmean(evaluate(one.point.rounded, images)) for one in finalists}
    return max(scores.items(), key=lambda found: found[1])


def found_preset(model: DemoModel, judge: Judge, size: Size, options: argparse.Namespace) -> Preset:
    """The best ratios of the search at one size, as a preset without a k of its own."""
    report = find(model, judge, size, Variant(), options)
    # The dense model is measured for comparison only; as in the paper, the table holds the best pruned one.
    tried = [entry for entry in report.history if entry.kind != "baseline" and entry.score is not None]
    if not tried:
        raise SystemExit(f"{size}: {report.message}")
    best = max(tried, key=lambda entry: entry.score or 0.0)
    ratios = Ratios(*(round(value, 3) for value in best.point.ratios))
    note = f"{report.evaluations} evaluations of {options.prompts} prompts; score {best.score:.3f}"
    if report.baseline is not None and report.baseline.score is not None:
        note += f", dense {report.baseline.score:.3f}"
    return Preset.own(f"Demo {size}", OTHER, size, ratios, None, model.sha256, note)


def with_k(model: DemoModel, judge: Judge, preset: Preset, options: argparse.Namespace) -> Preset:
    """The preset with the k whose images score best, of ``options.amplifications``."""
    prompts, seeds = [scene.caption() for scene in search_scenes(options.k_prompts)], K_SEEDS[: options.k_seeds]
    tried = try_amplifications(
        model, judge, preset.size, preset.ratios, options.amplifications, prompts, seeds,
        Drawing(steps=options.steps, batch=options.batch), options.work,
    )  # fmt: skip
    for one in tried:
        print(
            f"{preset.size}, k {one.k:g}: score x 100 {100 * one.score:.1f}, beyond dense {one.gain.as_gain()}",
            flush=True,
        )
    note = preset.note.partition("; k of ")[0]
    return replace(preset, k=tried[0].k, note=f"{note}; k of {len(prompts)} prompts, score {tried[0].score:.3f}")


def main() -> None:
    """Searches each size and writes the presets, those of other sizes kept."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=list(SIZES))
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=75)
    parser.add_argument("--amplifications", type=float, nargs="*", default=list(AMPLIFICATIONS), metavar="K")
    parser.add_argument("--k-prompts", type=int, default=75)
    parser.add_argument("--k-seeds", type=int, default=1, choices=range(1, len(K_SEEDS) + 1))
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--only-k", action="store_true", help="keep the ratios of --out, and choose k anew")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/search"))
    parser.add_argument("--out", type=Path, default=PRESETS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    for size in map(Size.parse, options.sizes):
        known = from_text(options.out.read_text("utf-8"), options.out.name) if options.out.is_file() else ()
        known = tuple(old for old in known if model.sha256 in old.checkpoints)
        if options.only_k:
            preset = next((old for old in known if old.size == size and old.criterion == DEFAULT_CRITERION), None)
            if preset is None:
                raise SystemExit(f"There is no preset for {size} and this checkpoint in {options.out}.")
        else:
            preset = found_preset(model, judge, size, options)
        if options.amplifications:
            preset = with_k(model, judge, preset, options)
        kept = [old for old in known if not same_use(old, preset)]
        options.out.write_text(to_text([*kept, preset]), encoding="utf-8")
        shown = {"size": str(size), "ratios": str(preset.schedule), "k": preset.k, "note": preset.note}
        print(json.dumps(shown), flush=True)


if __name__ == "__main__":
    main()

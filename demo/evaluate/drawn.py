"""``python -m demo.evaluate.drawn``: searches whose images are truly drawn, as ``demo.evaluate.simulate`` runs them.

The images of each search are of noises of its own. Finds are judged on other noises, the same for all, by captions the
searches see and some they do not. Processes can share the searches: each writes a file of its own, and any of them
prints the table of all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crdiff import console
from crdiff.errors import SettingsError
from crdiff.files import write_atomically
from crdiff.presets.size import Size
from crdiff.search.objective import Image
from crdiff.search.strategies.point import AXES, DENSE, Point
from crdiff.search.strategies.space import Space
from demo.evaluate.judge import Judge, gain_interval
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import Known, scores_at
from demo.evaluate.simulate import IMAGES, START, Trial
from demo.prepare import CHECKPOINT
from demo.scenes.scene import search_scenes

STRATEGIES = ("random", "random+", "nearby+")
SPACE = Space.vary(AXES, fixed=START)
CAPTIONS = 16
JUDGED = 8
"""Noises of each caption by which finds are judged."""
_OWN = 1000
"""Noises from here on are the searches' own, at most a hundred of each."""


@dataclass
class Finds:
    """What was found at one size.

    Attributes:
        made: checkpoint and how images are drawn and judged; finds of others are not comparable.
        references: the mean scores of the dense model and of where searches start, on the images that judge.
        found: of strategy, search seed and budget: the find, and its mean score on these images.
    """

    made: str
    references: dict[str, float] = field(default_factory=dict)
    found: dict[str, dict[str, dict[str, dict[str, Any]]]] = field(default_factory=dict)

    def add(self, other: Finds) -> None:
        """Take what another process has found besides.

        Raises:
            SettingsError: it was made otherwise.
        """
        if other.made != self.made:
            raise SettingsError(f"Searches of '{self.made}' and of '{other.made}' cannot be compared.")
        self.references |= other.references
        for name, searches in other.found.items():
            self.found[name] = self.found.get(name, {}) | searches

    def lines(self) -> list[str]:
        """How each strategy's finds score, beyond the start's and beyond the first strategy's, with 95 % intervals."""
        seeds = sorted(set.intersection(*map(set, self.found.values())), key=int)
        if len(seeds) < 2:
            return [f"{len(seeds)} searches are too few for a table."]
        means = "; ".join(f"{name} {100 * score:.1f}" for name, score in self.references.items())
        lines = [f"{len(seeds)} searches; {means}"]
        (base, first), *_ = self.found.items()
        for budget in first[seeds[0]]:
            scores = {
                name: np.array([searches[seed][budget]["score"] for seed in seeds])
                for name, searches in self.found.items()
            }
            for name, values in scores.items():
                cells = [f"{100 * values.mean():.1f}"]
                for other, than in (("the start", np.full(len(seeds), self.references["start"])), (base, scores[base])):
                    cells += [f"{gain_interval(values, than).as_gain()} beyond {other}"] if other != name else []
                lines.append(f"  {name}, {budget} evaluations: {'; '.join(cells)}")
        return lines


def rounds_of(trial: Trial, captions: Sequence[str]) -> list[list[Image]]:
    """The images of a search: of its own choice of captions, with noises that no other search has."""
    chosen = np.random.default_rng(trial.seed).permutation(len(captions))[:IMAGES]
    first = _OWN + 100 * trial.seed
    return [[(captions[place], first + number) for place in chosen] for number in range(trial.rounds)]


def run(model: DemoModel, judge: Judge, name: str, options: argparse.Namespace, results: dict[str, Finds]) -> None:
    """The searches at one size, seed after seed, with what each draws shared by its strategies."""
    captions = [scene.caption() for scene in search_scenes(options.captions)]
    drawing = Drawing(steps=options.steps, batch=options.batch)
    draw = scores_at(model, judge, Size.parse(name), drawing)
    judging = Known(draw)
    images = [(caption, noise) for caption in captions for noise in range(1, options.judged + 1)]

    def score(point: Point) -> float:
        return float(np.mean(judging.evaluate(point, images)))

    drawn = f"{drawing.steps} steps of {drawing.sampler}, guidance {drawing.guidance:g}"
    finds = Finds(f"{model.sha256[:8]}, {drawn}, judged on {len(captions)} captions and {options.judged} noises")
    finds.add(results.get(name, finds))
    results[name] = finds
    if not finds.references:
        finds.references = {"dense": score(DENSE), "start": score(SPACE.clip(START))}
    for seed in range(options.first, options.first + options.searches):
        known = Known(draw)
        for strategy in options.strategies:
            searches = finds.found.setdefault(strategy, {})
            if {str(budget) for budget in options.budgets} == searches.get(str(seed), {}).keys():
                continue
            trial = Trial(SPACE, strategy, seed, tuple(options.budgets))
            points = trial.finds(rounds_of(trial, captions), known.evaluate)
            ends = {str(budget): (point, score(point)) for budget, point in zip(trial.budgets, points)}
            searches[str(seed)] = {
                budget: {"point": end.to_dict(), "score": mean} for budget, (end, mean) in ends.items()
            }
            print(f"{name}, search {seed}, {strategy}: {[mean for _, mean in ends.values()]}", flush=True)
            if options.json:
                write_atomically(options.json, _text(results))


def _read(path: Path) -> dict[str, Finds]:
    return {name: Finds(**found) for name, found in json.loads(path.read_text("utf-8")).items()}


def _text(results: dict[str, Finds]) -> bytes:
    return json.dumps({name: vars(finds) for name, finds in results.items()}, indent=1).encode()


def main() -> None:
    """Runs the searches that the file lacks, writing it after each, and prints the table with those of other files."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=["80x128", "96x128"], help="HEIGHTxWIDTH")
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES), help="others are compared with the first")
    parser.add_argument("--searches", type=int, default=40, help="of each strategy; 0 only prints the table")
    parser.add_argument("--first", type=int, default=0, help="seed of the first search")
    parser.add_argument("--budgets", type=int, nargs="*", default=[24])
    parser.add_argument("--captions", type=int, default=CAPTIONS, help="that finds are judged by")
    parser.add_argument("--judged", type=int, default=JUDGED, help="noises of each of these captions")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--json", type=Path, help="file for all results")
    parser.add_argument("--merge", type=Path, nargs="*", default=[], help="files of other processes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # a GPU's tensor cores; scores are means over many images
    results = _read(options.json) if options.json and options.json.is_file() else {}
    if options.searches:
        for name in options.strategies:  # before anything is drawn
            Trial(SPACE, name, options.first, tuple(options.budgets)).strategy()
        model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
        for name in options.sizes:
            run(model, judge, name, options, results)
    for path in options.merge:
        for name, finds in _read(path).items():
            results.setdefault(name, Finds(finds.made)).add(finds)
    for name, finds in results.items():
        print(f"{name}: " + "\n".join(finds.lines()), flush=True)


if __name__ == "__main__":
    main()

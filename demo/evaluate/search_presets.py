"""``python -m demo.evaluate.search_presets``: presets by the page's own strategy, with criterion and k varied.

Of every criterion, once at k = 1 and once with k varied, what is known already and settings with one ratio for all
groups, then ratios and k near the best. The best few of all and today's preset race on images that were not searched
with; of those that the race leaves the cheapest win. The winner is judged on captions that no search has seen, against
the dense model, today's preset and the settings with one ratio.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import fmean

import torch

from crdiff import console
from crdiff.presets.own_document import from_text, to_text
from crdiff.presets.size import Size
from crdiff.presets.table import Preset, same_use
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.search.errors import AbortSearchError
from crdiff.search.fresh import survivors
from crdiff.search.journal import Journal
from crdiff.search.objective import Image, Objective
from crdiff.search.search import Budget, Search
from crdiff.search.strategies.nearby import NearbySearch
from crdiff.search.strategies.point import AXES, DENSE, PAPER_K, START, Point
from crdiff.search.strategies.space import K_BOUNDS, RATIO_BOUNDS, Space
from demo.evaluate.cells import DENSE_NAME, MAIN, Cell, Key, Measured, Protocol, row
from demo.evaluate.criteria import VARIED, Bench, kept_results
from demo.evaluate.criteria_presets import FREE, preset_of
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import scores_at
from demo.evaluate.uniform import UNIFORM, UNIFORM_CRITERIA, challenge
from demo.prepare import CHECKPOINT, CRITERION, PRESETS
from demo.scenes.scene import SEARCH_POOL, search_scenes

SIZES = ("80x128", "96x128", "88x128")
KNOWN = Path(__file__).resolve().parents[2] / "docs" / "demo-criteria.json"
CRITERIA = (CRITERION, "soft", DEFAULT_CRITERION)
WEAKENING = (0.01, 0.4)
"""Bounds of the ratios of a criterion that weakens layers: beyond them hardly an image is right."""
FINALISTS = 8
"""Of all criteria, besides today's preset."""
_DIGITS = 6e-4
SEARCHED, PRESET = "searched", "preset"
"""What a cell says is varied; of others it says the setting."""


@dataclass(frozen=True)
class Candidate:
    """A criterion with ratios and k."""

    criterion: str
    point: Point

    def __str__(self) -> str:
        return f"{self.criterion} {self.point.ratios} k {self.point.k:.3g}"


Tried = dict[Candidate, list[float]]
"""Scores of the same images each."""


class Finder:
    """Searches at one size.

    Args:
        model: draws.
        judge: scores.
        size: of the images.
        protocol: how many evaluations of each criterion, and captions.
        rounds: of the race.
        batch: images at a time.
        work: folder of the journals.
    """

    def __init__(
        self, model: DemoModel, judge: Judge, size: Size, protocol: Protocol, rounds: int, batch: int, work: Path
    ) -> None:  # fmt: skip
        self._size, self._protocol, self._rounds, self._batch, self._work = size, protocol, rounds, batch, work
        self._model, self._judge = model, judge

    def _scores(self, candidate: Candidate, images: Sequence[Image]) -> Sequence[float]:
        drawing = Drawing(steps=self._protocol.steps, batch=self._batch, criterion=candidate.criterion)
        return scores_at(self._model, self._judge, self._size, drawing)(candidate.point, images)

    def _images(self, part: int) -> list[Image]:
        """The pool's next captions, with new noises once it is through: the search's, part 0, then the rounds'."""
        count, pool = self._protocol.search_prompts, search_scenes(SEARCH_POOL)
        places = [divmod(part * count + number, len(pool)) for number in range(count)]
        return [(pool[place].caption(), 1 + noise) for noise, place in places]

    def search(self, criterion: str, varied: str, starts: Sequence[Point]) -> Tried:
        """The starts, then what is near the first and the best of them.

        Raises:
            AbortSearchError: it did not come to its end.
        """
        ratios = RATIO_BOUNDS if criterion == DEFAULT_CRITERION else WEAKENING
        space = Space.vary(VARIED[varied].axes, fixed=replace(START, k=PAPER_K), ratios=ratios, k=K_BOUNDS)
        objective = Objective(
            tuple(caption for caption, _ in self._images(0)),
            (1,),
            evaluate_many=lambda point, images: self._scores(Candidate(criterion, point), images),
            batch=self._protocol.search_prompts,
            racing="off",
        )
        identity = {**asdict(self._protocol), "size": str(self._size), "criterion": criterion, "varied": varied}
        name = f"presets-{self._size}-{criterion}-{varied}.jsonl".replace(" ", "")
        search = Search(space, NearbySearch(space, starts), objective, Journal(self._work / name, identity))
        report = search.run(Budget(evaluations=self._protocol.evaluations))
        if report.state != "done" or report.best is None:
            raise AbortSearchError(f"{self._size}, {criterion}: {report.message}")
        print(f"{self._size}, {criterion}, {varied}: {report.best.score:.3f} at {report.best.point}", flush=True)
        return {Candidate(criterion, one.point): [score or 0.0 for score in one.scores] for one in report.history}

    def winner(self, scored: Tried, preset: Candidate) -> Candidate:
        """Of the best few and the preset, who of those that a race leaves has the fewest passes, then the best mean."""
        best = sorted(scored, key=lambda one: -fmean(scored[one]))[:FINALISTS]
        racing = {one: scored.get(one) or self._scores(one, self._images(0)) for one in dict.fromkeys([*best, preset])}
        left = survivors(racing, [self._images(part) for part in range(1, self._rounds + 1)], self._scores)
        for one, scores in left.items():
            print(f"{self._size}, left by the race: {one}, {fmean(scores):.3f} on {len(scores)} images", flush=True)
        return min(left, key=lambda one: (one.point.k != PAPER_K, -fmean(left[one])))


def starts_of(criterion: str, varied: str, preset: Candidate, known: Iterable[Cell]) -> list[Point]:
    """Today's preset, if it is of this criterion, what was found of it before, and one ratio for all groups."""
    points = [preset.point] if preset.criterion == criterion else []
    points += [Point(*cell.ratios, cell.k) for cell in known if cell.criterion == criterion and cell.varied in MAIN]
    points += [one.point for one in UNIFORM if one.criterion == criterion and one.k >= K_BOUNDS[0]]
    starts: list[Point] = []
    for point in points:
        if (point.k == PAPER_K) == (varied == FREE) and not any(_same(point, one) for one in starts):
            starts.append(point)
    return starts


def known_cell(known: Iterable[Cell], key: Key, point: Point) -> Cell | None:
    """A configuration that was judged before."""
    for cell in known:
        same = cell.key[:3] == key[:3] and "scaled" not in cell.varied
        if same and _same(Point(*cell.ratios, cell.k), point):
            return replace(cell, varied=key[3])
    return None


def _same(point: Point, other: Point) -> bool:
    """To the digits of a preset."""
    return all(abs(point[axis] - other[axis]) < _DIGITS for axis in AXES)


def preset_at(size: Size) -> Candidate:
    """Today's preset of the demo's page."""
    for preset in from_text(PRESETS.read_text("utf-8")):
        if preset.size == size and preset.criterion == CRITERION:
            return Candidate(CRITERION, Point(*preset.ratios, 1.0 if preset.k is None else preset.k))
    raise SystemExit(f"There is no preset for {size}.")


def made_preset(measured: Measured, winner: Cell) -> Preset | None:
    """The winner of the race as a preset; None if today's won, or costs less and is no worse outside the interval."""
    today, protocol = measured.of(winner.size, CRITERION, PRESET), measured.protocol
    if today is not None:
        won = winner.criterion == today.criterion and (winner.ratios, winner.k) == (today.ratios, today.k)
        lead = measured.gain(winner, today)
        if won or (winner.passes > today.passes and (lead is None or lead.low <= 0.0)):
            return None
    note = f"{protocol.evaluations} evaluations of {protocol.search_prompts} prompts at a time, then a race"
    return preset_of(
        winner, protocol.checkpoint, f"{note}; {winner.passes:g} UNet pass{'es' * (winner.passes != 1.0)} a step"
    )


def table(measured: Measured) -> list[str]:
    """Markdown with a row for each setting: at each size the share of captions right, and how far beyond the winner."""
    sizes = measured.sizes()
    rows: dict[str, dict[str, Cell]] = {}
    for cell in measured.cells.values():
        rows.setdefault(_named(cell), {})[cell.size] = cell
    lines = [row(["setting", "passes", *sizes]), row(["---"] * (len(sizes) + 2))]
    for name, cells in rows.items():
        passes = "-".join(f"{count:g}" for count in sorted({cell.passes for cell in cells.values()}))
        lines.append(row([name, passes, *(_shown(measured, cells.get(size)) for size in sizes)]))
    return lines


def _named(cell: Cell) -> str:
    named = {SEARCHED: "found by the search", PRESET: "the page's preset", "": DENSE_NAME}
    return named.get(cell.varied, f"{cell.label}, {cell.varied}")


def _shown(measured: Measured, cell: Cell | None) -> str:
    if cell is None:
        return ""
    winner = next((one for one in measured.cells.values() if (one.size, one.varied) == (cell.size, SEARCHED)), None)
    text, beyond = f"{100 * measured.right(cell).value:.1f}", measured.gain(cell, winner)
    if beyond is not None:
        told = f"{100 * beyond.value:+.1f} ± {50 * (beyond.high - beyond.low):.1f}"
        text += f" (**{told}**)" if beyond.low > 0.0 or beyond.high < 0.0 else f" ({told})"
    captions = len(cell.right) // measured.protocol.seeds
    text += "" if captions == measured.protocol.prompts else f", of {captions}"
    if cell.varied in (SEARCHED, PRESET):
        ratios = "/".join(f"{ratio:.3g}" for ratio in dict.fromkeys(cell.ratios))
        text = f"{cell.label} {ratios}, k {cell.k:.3g}: {text}"
    return text


def known_cells(paths: Iterable[Path], protocol: Protocol) -> list[Cell]:
    """What files hold that was judged in the same way on all captions, however it was found."""
    judged = {name: getattr(protocol, name) for name in ("checkpoint", "prompts", "seeds", "steps")}
    files = [one for one in map(Measured.read, paths) if judged.items() <= asdict(one.protocol).items()]
    cells = [cell for one in files for cell in one.cells.values()]
    return [cell for cell in cells if len(cell.right) == protocol.prompts * protocol.seeds]


def main() -> None:
    """Searches and judges what the file of results lacks, and prints the table of all of it."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=list(SIZES), help="HEIGHTxWIDTH")
    parser.add_argument("--criteria", nargs="*", default=list(CRITERIA), choices=CRITERIA, metavar="NAME")
    parser.add_argument("--evaluations", type=int, default=10, help="of each criterion at k = 1, and with k varied")
    parser.add_argument("--search-prompts", type=int, default=16, help="captions of a search, and of a round")
    parser.add_argument("--rounds", type=int, default=2, help="of the race, each of as many captions")
    parser.add_argument("--prompts", type=int, default=200, help="for judging")
    parser.add_argument("--seeds", type=int, default=2, help="for judging")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--uniform", nargs="*", default=list(UNIFORM_CRITERIA), choices=UNIFORM_CRITERIA,
                        metavar="CRITERION", help="whose settings with one ratio are judged")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--batch", type=int, default=Drawing.batch, help="images at a time")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--work", type=Path, default=Path(".cache/demo/search"))
    parser.add_argument("--known", type=Path, nargs="*", default=[KNOWN], help="what is in them is not judged again")
    parser.add_argument("--json", type=Path, help="results; what it holds is not measured again")
    parser.add_argument("--out", type=Path, help="presets, to which a winner is added that is no other's equal")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.work.mkdir(parents=True, exist_ok=True)
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    counts = (options.evaluations, options.search_prompts, 1, options.prompts, options.seeds)
    protocol = Protocol(model.sha256, *counts, options.steps)
    known, measured = known_cells(options.known, protocol), kept_results(options.json, protocol)
    bench = Bench(model, judge, protocol, options.batch, options.work)

    def add(cell: Cell) -> Cell:
        measured.cells[cell.key] = cell
        print(row([*cell.key, str(measured.right(cell))]), flush=True)
        if options.json:
            measured.write(options.json)
        return cell

    def judged(key: Key, point: Point) -> Cell:
        return measured.cells.get(key) or add(known_cell(known, key, point) or bench.judged(key, point))

    for name in options.sizes:
        size, preset = Size.parse(name), preset_at(Size.parse(name))
        judged((name, DENSE_NAME, "", ""), DENSE)
        judged((name, preset.criterion, "", PRESET), preset.point)
        winner = next((cell for cell in measured.cells.values() if (cell.size, cell.varied) == (name, SEARCHED)), None)
        if winner is None:
            finder = Finder(model, judge, size, protocol, options.rounds, options.batch, options.work)
            here = [cell for cell in known if cell.size == name]
            tried: Tried = {}
            for criterion, varied in product(options.criteria, MAIN):
                tried |= finder.search(criterion, varied, starts_of(criterion, varied, preset, here))
            found = finder.winner(tried, preset)
            print(f"{name}: {found}", flush=True)
            winner = judged((name, found.criterion, "", SEARCHED), found.point)
        for setting in UNIFORM:
            key = setting.key(size)
            if setting.criterion in options.uniform and key not in measured.cells:
                add(known_cell(known, key, setting.point) or challenge(bench, measured, setting, winner))
        made = made_preset(measured, winner)
        if options.out and made is not None:
            presets = from_text(options.out.read_text("utf-8")) if options.out.is_file() else ()
            kept = [one for one in presets if not same_use(one, made)]
            options.out.write_text(to_text([*kept, made]), encoding="utf-8")
    print("\n".join(table(measured)))


if __name__ == "__main__":
    main()

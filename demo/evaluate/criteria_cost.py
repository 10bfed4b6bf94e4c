"""``python -m demo.evaluate.criteria_cost docs/demo-criteria.json``: operations, time and memory of criteria.

Each draws a few images at the ratios and k that the file has for it, in turns with the dense model; decoding is left
out. On a processor times are processor time, so that other work on the machine hardly counts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from crdiff import console
from crdiff.bench.allocations import measure
from crdiff.bench.operations import OperationCounter
from crdiff.bench.timing import Turn, interleave, ratio
from crdiff.files import write_atomically
from crdiff.method.groups import GROUPS, Ratios
from crdiff.presets.size import Size
from crdiff.pruning.registry import CRITERIA, Needs
from demo.evaluate.cells import MAIN, Cell, Measured, row
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.prepare import CHECKPOINT
from demo.scenes.scene import NATIVE, search_scenes

MIB = 2**20
FEW, MORE = 2, 4
"""Steps of the images whose difference is what steps cost without what comes once an image."""


@dataclass(frozen=True)
class Cost:
    """What something costs beside drawing the same images with the dense model.

    Attributes:
        name: of the criterion, or what a calibration serves.
        varied: a key of ``VARIED``; empty for a calibration.
        operations: multiplications and additions of a step, the dense model's as 1; 0 for a calibration.
        time: of the images, the dense model's as 1.
        first_bytes: at the peak, beyond the dense model's, with ratios that are new.
        bytes: the same with ratios that have been used before, what is held from then included; for a calibration
            both are one.
    """

    name: str
    varied: str
    operations: float
    time: float
    first_bytes: int
    bytes: int


class CostBench:
    """Measures costs on the demo's model.

    Args:
        model: draws.
        size: of the images.
        images: how many are drawn together.
        drawing: their steps and guidance.
        device: that draws.
        rounds: how often each is timed.
    """

    def __init__(
        self, model: DemoModel, size: Size, images: int, drawing: Drawing, device: torch.device, rounds: int
    ) -> None:
        self._model, self._size, self._drawing = model, size, drawing
        self._device, self._rounds = device, rounds
        self._short = replace(drawing, steps=FEW)
        self._prompts = [scene.caption() for scene in search_scenes(images)]
        self._seeds = [noise_seed(prompt, 0) for prompt in self._prompts]

    def calibration(self, needs: Needs) -> Cost:
        """What a criterion of these needs takes, at the size of training; that calibration is then in force."""
        native = Size(NATIVE, NATIVE)
        hessians = GROUPS if needs in (Needs.HESSIANS, Needs.WHOLE_HESSIANS) else ()

        def calibrate(drawing: Drawing) -> None:
            self._model.calibrate(
                self._prompts, self._seeds, (NATIVE, NATIVE), drawing, hessians, needs is Needs.GRADIENTS
            )

        beyond = self._peak(partial(calibrate, self._short)) - self._peak(self._dense(native, self._short))
        time = self._time(partial(calibrate, self._drawing), self._dense(native, self._drawing))
        return Cost(needs.value, "", 0.0, time, beyond, beyond)

    def step(self, cell: Cell) -> Cost:
        """A criterion at what was found for it, calibrated as ``calibration`` has last done."""
        ratios = Ratios(*cell.ratios)

        def draw(drawing: Drawing) -> None:
            own = replace(drawing, criterion=cell.criterion)
            self._model.latents(self._prompts, self._seeds, _pixels(self._size), ratios, cell.k, own)

        usual, operations = self._usual
        self._model.forget()
        first, again = (measure(partial(draw, self._short), self._device) for _ in range(2))
        own = step_operations(self._model, self._size, ratios, cell.k, replace(self._drawing, criterion=cell.criterion))
        time = self._time(partial(draw, self._drawing), self._dense(self._size, self._drawing))
        held = max(first.kept, 0)
        return Cost(cell.criterion, cell.varied, own / operations, time, first.peak - usual, held + again.peak - usual)

    @cached_property
    def _usual(self) -> tuple[int, float]:
        """Peak and operations of the dense model."""
        peak = self._peak(self._dense(self._size, self._short))
        return peak, step_operations(self._model, self._size, DENSE, 0.0, self._drawing)

    def _dense(self, size: Size, drawing: Drawing) -> Callable[[], torch.Tensor]:
        return partial(self._model.latents, self._prompts, self._seeds, _pixels(size), DENSE, 0.0, drawing)

    def _peak(self, work: Callable[[], object]) -> int:
        return measure(work, self._device).peak

    def _time(self, work: Callable[[], object], dense: Callable[[], object]) -> float:
        turns = {"ours": Turn(lambda _: work()), "dense": Turn(lambda _: dense())}
        return ratio(interleave(turns, self._device, self._rounds, 0.0), "ours", "dense").median


def _pixels(size: Size) -> tuple[int, int]:
    return size.height, size.width


def step_operations(model: DemoModel, size: Size, ratios: Ratios, k: float, drawing: Drawing) -> float:
    """Multiplications and additions of one step of one image, both prompts, whatever comes once an image left out."""
    counts = []
    for steps in (FEW, FEW, MORE):  # the first time new ratios take a look at the weights
        with OperationCounter() as counter:
            model.latents(["a red house"], [1], _pixels(size), ratios, k, replace(drawing, steps=steps))
        counts.append(counter.total)
    return (counts[-1] - counts[-2]) / (MORE - FEW)


def saved(model: DemoModel, size: Size, drawing: Drawing, ratios: Ratios) -> float:
    """The part of a pruned pass's operations that a criterion saves."""
    own = step_operations(model, size, ratios, 1.0, drawing)
    return 1.0 - own / step_operations(model, size, DENSE, 0.0, drawing)


def table(costs: Mapping[tuple[str, str], Cost]) -> Iterator[str]:
    """Markdown: calibrations, then criteria."""
    yield row(["a calibration", "time", "memory, MiB"])
    yield row(["---"] * 3)
    for cost in costs.values():
        if not cost.varied:
            yield row([cost.name, f"{cost.time:.2f}", f"{cost.bytes / MIB:.1f}"])
    yield ""
    heads = (f"{what}, {varied}" for varied in MAIN for what in ("operations", "time", "memory, MiB"))
    yield row(["criterion", *heads, "memory with new ratios"])
    yield row(["---"] * 8)
    for name in CRITERIA:
        found = [costs.get((name, varied)) for varied in MAIN]
        if not any(found):
            continue
        cells = [
            part
            for cost in found
            for part in (
                [f"{cost.operations:.2f}", f"{cost.time:.2f}", f"{cost.bytes / MIB:.1f}"] if cost else [""] * 3
            )
        ]
        yield row([name, *cells, f"{max(cost.first_bytes for cost in found if cost) / MIB:.1f}"])


def main() -> None:
    """Measures what the file of results lacks, and prints the tables."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path, help="JSON of python -m demo.evaluate.criteria")
    parser.add_argument("--size", default="96x128", help="HEIGHTxWIDTH")
    parser.add_argument("--images", type=int, default=4, help="drawn together")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="that draws, such as cuda")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--json", type=Path, help="results; what it holds is not measured again")
    options = parser.parse_args()
    model = DemoModel(options.checkpoint, options.device)
    drawing = Drawing(steps=options.steps, batch=options.images)
    device, size = torch.device(options.device), Size.parse(options.size)
    bench = CostBench(model, size, options.images, drawing, device, options.rounds)
    costs: dict[tuple[str, str], Cost] = {}
    if options.json and options.json.is_file():
        kept = (Cost(**one) for one in json.loads(options.json.read_text("utf-8")))
        costs = {(cost.name, cost.varied): cost for cost in kept}
    measured = Measured.read(options.figures)
    for needs in Needs:
        cells = [
            cell
            for name, kind in CRITERIA.items()
            if kind.needs is needs
            for varied in MAIN
            if (cell := measured.of(options.size, name, varied)) and (name, varied) not in costs
        ]
        if needs is not Needs.NOTHING and ((needs.value, "") not in costs or cells):
            costs[needs.value, ""] = bench.calibration(needs)
        for cell in cells:
            costs[cell.criterion, cell.varied] = bench.step(cell)
            print(costs[cell.criterion, cell.varied], flush=True)
            if options.json:
                _write(options.json, costs)
    print("\n".join(table(costs)))


def _write(path: Path, costs: Mapping[tuple[str, str], Cost]) -> None:
    lines = ",\n".join(json.dumps(asdict(cost)) for cost in costs.values())
    write_atomically(path, f"[\n{lines}\n]\n".encode())


if __name__ == "__main__":
    main()

"""``python -m demo.evaluate.transformer``: does pruning help a diffusion transformer away from its size?

Every way draws the captions of the search's pool and those for judging, from the same noises. Which ratio, k and layers
to take at a size is chosen by the pool; the table has what they bring on the others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from crdiff import console
from crdiff.cost import unet_passes
from crdiff.method.schedule import StepWindow
from crdiff.models.scope import ATTENTION, RELEASED
from crdiff.modes.registry import DEFAULT_MODE, MODES
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from demo.evaluate.cells import DENSE_NAME, Cell, Measured, Protocol, row
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel
from demo.evaluate.objective import noise_seed
from demo.evaluate.table import gain_text
from demo.evaluate.transformer_model import DemoTransformer, Way
from demo.prepare import CHECKPOINT
from demo.scenes.scene import NATIVE, SEARCH_POOL, Scene, judging_scenes, search_scenes
from demo.train.transformer import TRANSFORMER

SIZES = (f"{NATIVE}x{NATIVE}", "80x128", "88x128", "96x128", "112x112", "128x112", "128x144")
RATIOS, KS, WEAKENED = (0.05, 0.1, 0.2, 0.3), (1.0, 1.5, 2.0), (0.1, 0.2)
LAYERS = (RELEASED, ATTENTION)
WAYS = (
    Way(),
    *(Way(ratio, 1.0, layers) for layers in LAYERS for ratio in RATIOS),
    *(Way(ratio, 1.0, layers, "attenuation") for layers in LAYERS for ratio in WEAKENED),
    *(Way(ratio, k, layers) for k in KS[1:] for layers in LAYERS for ratio in RATIOS),
)
"""In the order of measuring: a run that is cut off has what matters most."""
SHOWN, SCENES_SHOWN = (Way(), Way(0.3, 2.0), Way(0.2, criterion="attenuation")), 7
PADDING = ((0, 4), (0, 4), (0, 0))


@dataclass(frozen=True)
class Choice:
    """A column of the table: the cells that the best on the pool is taken of.

    Attributes:
        layers: their layers.
        criterion: their criterion.
        amplified: whether their k is above 1.
    """

    layers: str
    criterion: str = DEFAULT_CRITERION
    amplified: bool = False

    def __str__(self) -> str:
        return f"{self.criterion}, {self.layers}, {'k above 1' if self.amplified else 'k = 1'}"

    def fits(self, cell: Cell) -> bool:
        """Whether a cell is one of them."""
        same = cell.criterion == self.criterion and cell.varied.startswith(self.layers)
        return same and (cell.k > 1.0) == self.amplified


CHOICES = (
    *(Choice(layers) for layers in LAYERS),
    *(Choice(layers, amplified=True) for layers in LAYERS),
    *(Choice(layers, "attenuation") for layers in LAYERS),
)


def varied(way: Way) -> str:
    """What tells apart cells of one criterion."""
    return f"{way.layers} {way.ratio:g}, k = {way.k:g}" if way.ratio else ""


def measure(
    model: DemoTransformer, judge: Judge, size: str, way: Way, scenes: Sequence[Scene], protocol: Protocol, batch: int
) -> Cell:  # fmt: skip
    """One way at one size, judged on all scenes."""
    asked = [scene for scene in scenes for _ in range(protocol.seeds)]
    seeds = [noise_seed(scene.caption(), seed + 1) for scene in scenes for seed in range(protocol.seeds)]
    pixels, right, scores = Size.parse(size), "", []
    for start in range(0, len(asked), batch):
        part = slice(start, start + batch)
        prompts = [scene.caption() for scene in asked[part]]
        images = model.draw(prompts, seeds[part], (pixels.height, pixels.width), way, protocol.steps)
        verdict = judge.verdict(images, asked[part])
        right += "".join("01"[bool(one)] for one in verdict.right)
        scores += [round(1000 * float(score)) for score in verdict.scores]
    passes = unet_passes(way.plan, MODES[DEFAULT_MODE], StepWindow())
    criterion = way.criterion if way.ratio else DENSE_NAME
    return Cell(size, criterion, "", varied(way), (way.ratio,) * 3, way.k, passes, right, tuple(scores))


def parts(measured: Measured) -> tuple[Measured, Measured]:
    """The same cells on the captions to choose by, and on those to judge by."""
    count = measured.protocol.search_prompts * measured.protocol.seeds

    def of(part: slice) -> Measured:
        cells = (replace(one, right=one.right[part], scores=one.scores[part]) for one in measured.cells.values())
        return Measured(measured.protocol, {cell.key: cell for cell in cells})

    return of(slice(None, count)), of(slice(count, None))


def table(measured: Measured) -> list[str]:
    """Markdown: by size the share of captions right, dense, and what the best of each choice brings beyond it."""
    searched, judged = parts(measured)
    lines = [row(["size (h x w)", "dense", *map(str, CHOICES)]), row(["---"] * (2 + len(CHOICES)))]
    for size in measured.sizes():
        dense = judged.of(size, DENSE_NAME, "")
        found = [size, str(judged.right(dense)) if dense else ""]
        for choice in CHOICES:
            best = _best(searched, size, choice)
            gain = judged.beyond_dense(judged.cells[best.key]) if best else None
            found.append(f"{gain_text(gain)} [{_configuration(best)}]" if best and gain else "")
        lines.append(row(found))
    return lines


def released_over_attention(measured: Measured) -> list[str]:
    """Markdown: by size what pruning as released brings beyond pruning attention too, each at its best on the pool."""
    searched, judged = parts(measured)
    lines = [row(["size (h x w)", "k = 1", "k above 1"]), row(["---"] * 3)]
    for size in measured.sizes():
        found = [size]
        for amplified in (False, True):
            released, attention = (_best(searched, size, Choice(layers, amplified=amplified)) for layers in LAYERS)
            pair = released and attention and (judged.cells[released.key], judged.cells[attention.key])
            gain = judged.gain(*pair) if pair else None
            found.append(gain_text(gain) if gain else "")
        lines.append(row(found))
    return lines


def _best(searched: Measured, size: str, choice: Choice) -> Cell | None:
    cells = [cell for cell in searched.cells.values() if cell.size == size and choice.fits(cell)]
    return max(cells, key=lambda cell: sum(cell.scores), default=None)


def _configuration(cell: Cell) -> str:
    return f"{cell.ratios[0]:g}" if cell.k == 1.0 else f"{cell.ratios[0]:g}, k {cell.k:g}"


def save_images(model: DemoTransformer, sizes: Sequence[str], scenes: Sequence[Scene], steps: int, path: Path) -> None:
    """For each size a row of every way in ``SHOWN``, with a column for each scene."""
    prompts = [scene.caption() for scene in scenes]
    seeds = [noise_seed(prompt, 1) for prompt in prompts]
    rows = []
    for size in map(Size.parse, sizes):
        for way in SHOWN:
            images = model.draw(prompts, seeds, (size.height, size.width), way, steps)
            rows.append(np.concatenate([np.pad(image, PADDING, constant_values=255) for image in images], axis=1))
    wide = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, wide - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    Image.fromarray(np.concatenate(rows)).quantize(255, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Measures what the file of results lacks, and prints the table of all of it."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), help="HEIGHTxWIDTH")
    parser.add_argument("--pool", type=int, default=SEARCH_POOL, help="captions to choose by")
    parser.add_argument("--prompts", type=int, default=200, help="captions to judge by")
    parser.add_argument("--seeds", type=int, default=2, help="noises of each")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--batch", type=int, default=600)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", type=Path, default=TRANSFORMER)
    parser.add_argument("--json", type=Path, nargs="*", default=[], help="results; goes on with the first, reads all")
    parser.add_argument("--images", type=Path, help="PNG of the first captions at the sizes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")
    model = DemoTransformer(options.checkpoint, DemoModel(CHECKPOINT, options.device), options.device)
    judge = Judge(device=options.device)
    protocol = Protocol(model.sha256, 0, options.pool, options.seeds, options.prompts, options.seeds, options.steps)
    scenes = [*search_scenes(options.pool), *judging_scenes(options.prompts)]
    kept = [path for path in options.json if path.is_file()]
    measured = Measured.read_all(kept) if kept else Measured(protocol, {})
    if measured.protocol != protocol:
        raise SystemExit("The file of results was measured in another way.")
    for way in WAYS:
        for size in options.sizes:
            criterion = way.criterion if way.ratio else DENSE_NAME
            if (size, criterion, "", varied(way)) in measured.cells:
                continue
            began = time.perf_counter()
            cell = measure(model, judge, size, way, scenes, protocol, options.batch)
            measured.cells[cell.key] = cell
            share = measured.right(cell)
            print(f"{size} {criterion} {cell.varied}: {share}, {time.perf_counter() - began:.1f} s", flush=True)
            if options.json:
                measured.write(options.json[0])
    print("\n".join([*table(measured), "", "As released over attention too:", "", *released_over_attention(measured)]))
    if options.images:
        shown = judging_scenes(SCENES_SHOWN)
        save_images(model, options.sizes, shown, protocol.steps, options.images)


if __name__ == "__main__":
    main()

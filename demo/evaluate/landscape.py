"""``python -m demo.evaluate.landscape``: scores of the demo's model all over the space of a search, drawn once.

From its files hundreds of searches are simulated in seconds, by ``python -m demo.evaluate.simulate``.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crdiff import console
from crdiff.files import write_atomically
from crdiff.presets.size import Size
from crdiff.search.strategies.point import AXES, DENSE, Point
from crdiff.search.strategies.space import K_BOUNDS, Space
from demo.evaluate.judge import Judge
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import scores_at
from demo.prepare import CHECKPOINT
from demo.scenes.scene import search_scenes

FOLDER = Path(__file__).resolve().parents[1] / "landscape"
SIZES = ("80x128", "88x128", "96x128", "112x112", "128x144")
"""Height x width in pixels: what the demo fails at in part."""
SPACE = Space.vary(AXES, fixed=DENSE, ratios=(0.0, 0.8), k=K_BOUNDS)
_LEVELS = 255
"""Scores, from 0 to 1, are kept in 255ths."""
_WRITE_EVERY = 16


@dataclass(frozen=True)
class Landscape:
    """Scores of one size.

    Attributes:
        made: checkpoint, steps and size, by which files are told apart.
        captions: of the images, each with its own noises.
        noises: of each caption.
        points: configurations, ``[points, 4]`` in the order of ``AXES``; the first is the dense model.
        scores: of each configuration's images, caption by caption: ``[points, captions * noises]``, in 255ths.
    """

    made: str
    captions: tuple[str, ...]
    noises: int
    points: NDArray[np.float64]
    scores: NDArray[np.uint8]

    @property
    def images(self) -> tuple[tuple[str, int], ...]:
        """Caption and image seed of every column."""
        return tuple((caption, seed) for caption in self.captions for seed in range(1, self.noises + 1))

    @classmethod
    def read(cls, path: Path) -> Landscape:
        """The landscape of a file."""
        with np.load(path) as kept:
            captions = tuple(map(str, kept["captions"]))
            return cls(str(kept["made"]), captions, int(kept["noises"]), kept["points"], kept["scores"])

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        data = io.BytesIO()
        fields: dict[str, Any] = vars(self)
        np.savez_compressed(data, **fields)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data.getvalue())


def sobol_points(count: int) -> list[Point]:
    """The dense model, and the first ``count`` points of the Sobol sequence, whose own first draws the dense model."""
    fractions = torch.quasirandom.SobolEngine(len(AXES)).draw(count + 1, dtype=torch.float64)[1:]
    return [DENSE, *(SPACE.at(row) for row in fractions.tolist())]


def make(
    model: DemoModel, judge: Judge, size: Size, drawing: Drawing, captions: Sequence[str], noises: int, count: int,
    path: Path,
) -> Landscape:  # fmt: skip
    """Draw what the file lacks of ``count`` configurations.

    Args:
        model: draws.
        judge: scores.
        size: of the images.
        drawing: steps, guidance, batch.
        captions: see Landscape.
        noises: see Landscape.
        count: of configurations besides the dense model.
        path: of the file.
    """
    made = f"{model.sha256[:8]}, {size}, {drawing.steps} steps of {drawing.sampler}, guidance {drawing.guidance:g}"
    points = sobol_points(count)
    table = np.array([[point[axis] for axis in AXES] for point in points])
    found = Landscape(made, tuple(captions), noises, table[:0], np.zeros((0, len(captions) * noises), np.uint8))
    if path.is_file():
        kept = Landscape.read(path)
        if (kept.made, kept.captions, kept.noises) == (made, found.captions, noises):
            found = kept
    evaluate, rows = scores_at(model, judge, size, drawing), list(found.scores)
    for number in range(len(rows), len(points)):
        scores = np.array(evaluate(points[number], found.images))
        rows.append(np.rint(_LEVELS * scores).astype(np.uint8))
        if len(rows) % _WRITE_EVERY == 0 or len(rows) == len(points):
            found = Landscape(made, found.captions, noises, table[: len(rows)], np.stack(rows))
            found.write(path)
    return found


def main() -> None:
    """Draws what the files lack; ended at any time, the same command goes on."""
    console.allow_any_text()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=list(SIZES), help="HEIGHTxWIDTH")
    parser.add_argument("--points", type=int, default=256, help="configurations besides the dense model")
    parser.add_argument("--captions", type=int, default=16)
    parser.add_argument("--noises", type=int, default=8, help="of each caption")
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--batch", type=int, default=128, help="images at a time")
    parser.add_argument("--device", default="cpu", help="that draws and judges, such as cuda")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the files")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("high")  # a GPU's tensor cores; scores are means over many images
    model, judge = DemoModel(options.checkpoint, options.device), Judge(device=options.device)
    drawing = Drawing(steps=options.steps, batch=options.batch)
    captions = [scene.caption() for scene in search_scenes(options.captions)]
    for size in options.sizes:
        began, path = time.monotonic(), options.out / f"{size}.npz"
        found = make(model, judge, Size.parse(size), drawing, captions, options.noises, options.points, path)
        means = found.scores.mean(axis=1) / _LEVELS
        best = int(means.argmax())
        print(
            f"{size}: {len(means)} configurations of {found.scores.shape[1]} images in "
            f"{time.monotonic() - began:.0f} s; dense {means[0]:.3f}, best {means[best]:.3f} at "
            f"{'/'.join(f'{value:.2f}' for value in found.points[best])}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""``python -m demo.evaluate.strip``: the evaluation's first captions at one size, dense above, below it each criterion.

Which images are shown is a rule, not a choice: the first captions that ``python -m demo.evaluate`` judges, with the
first of their noises, its sampler, steps and guidance. How many of them are right is told under each row.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from crdiff.presets.own_document import from_text
from crdiff.presets.size import Size
from crdiff.pruning.registry import DEFAULT_CRITERION
from crdiff.specs import DEFAULT_K
from demo.evaluate.compare import Sample
from demo.evaluate.judge import Judge, Verdict
from demo.evaluate.model import DENSE, DemoModel, Drawing
from demo.prepare import CHECKPOINT, PRESETS
from demo.scenes.scene import judging_scenes

GAP, BORDER, LABEL = 6, 3, 20
SEED = 1
RIGHT, WRONG = "#2e9e4f", "#c8453b"
Row = tuple[str, Sequence[NDArray[np.uint8]], Verdict]
"""What a row is called, its images ``[h, w, 3]``, and what the scorer says of them."""


def draw_strip(rows: Sequence[Row]) -> Image.Image:
    """The rows below one another, each image in a frame that says whether it is right."""
    _, first, _ = rows[0]
    tall, wide = first[0].shape[:2]
    cell, row_height = wide + 2 * BORDER + GAP, LABEL + tall + 2 * BORDER + GAP
    sheet = Image.new("RGB", (len(first) * cell - GAP, len(rows) * row_height - GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    for place, (name, images, verdict) in enumerate(rows):
        top = place * row_height
        pen.text((2, top + 4), f"{name}: {verdict.right.sum()} of {len(images)} right", fill="black", font=font)
        for column, (image, right) in enumerate(zip(images, verdict.right)):
            left, upper = column * cell, top + LABEL
            frame = (left, upper, left + wide + 2 * BORDER - 1, upper + tall + 2 * BORDER - 1)
            pen.rectangle(frame, fill=RIGHT if right else WRONG)
            sheet.paste(Image.fromarray(image), (left + BORDER, upper + BORDER))
    return sheet


def main() -> None:
    """Draws, judges and saves the strip, and prints the captions and how many are right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=Size.parse, default=Size(80, 128), help="HEIGHTxWIDTH, one with a preset")
    parser.add_argument("--captions", type=int, default=8)
    parser.add_argument("--steps", type=int, default=Drawing.steps)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--presets", type=Path, default=PRESETS)
    parser.add_argument("--out", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, judge = DemoModel(options.checkpoint), Judge()
    presets = from_text(options.presets.read_text("utf-8"))
    presets = [one for one in presets if one.size == options.size and model.sha256 in one.checkpoints]
    sample, drawing = Sample(tuple(judging_scenes(options.captions)), (SEED,)), Drawing(steps=options.steps)
    ways = [("dense", DENSE, 0.0, drawing)]
    for preset in presets:
        name = "CR-Diff" if preset.criterion == DEFAULT_CRITERION else f"CR-Diff, criterion {preset.criterion}"
        k = DEFAULT_K if preset.k is None else preset.k
        ways.append((name, preset.ratios, k, replace(drawing, criterion=preset.criterion)))
    rows: list[Row] = []
    for name, *configuration in ways:
        images = sample.draw(model, options.size, *configuration)
        rows.append((name, images, judge.verdict(images, sample.asked)))
        print(f"{name}, {options.size}: {rows[-1][2].right.sum()} of {len(images)} right", flush=True)
    for scene in sample.scenes:
        print(f"- {scene.caption()}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    draw_strip(rows).save(options.out, optimize=True)


if __name__ == "__main__":
    main()

"""Scores all over the space of a search, and searches simulated on them."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from crdiff.method.groups import Ratios
from demo.evaluate import landscape
from demo.evaluate.judge import Judge
from demo.evaluate.landscape import Landscape
from demo.evaluate.model import DemoModel, Drawing
from demo.evaluate.objective import noise_seed
from demo.prepare import CHECKPOINT
from demo.scenes.scene import search_scenes


def test_a_landscape_holds_the_scores_of_images_drawn_one_by_one_and_is_continued(tmp_path, monkeypatch):
    command = ["landscape", "80x128", "--captions", "1", "--noises", "2", "--steps", "8", "--out", str(tmp_path)]
    for points in ("0", "1"):
        monkeypatch.setattr(sys, "argv", [*command, "--points", points])
        landscape.main()
    found, (scene,) = Landscape.read(tmp_path / "80x128.npz"), search_scenes(1)
    model, judge, caption = DemoModel(CHECKPOINT), Judge(), scene.caption()
    assert found.points.shape == (2, 4) and not found.points[0].any()
    *ratios, k = map(float, found.points[1])
    for place, seed in enumerate((1, 2)):
        image = model.draw([caption], [noise_seed(caption, seed)], (80, 128), Ratios(*ratios), k, Drawing(steps=8))
        assert found.scores[1, place] / 255 == pytest.approx(judge.verdict(image, [scene]).scores[0], abs=0.005)
    assert np.ptp(found.scores.astype(int), axis=0).max() > 10

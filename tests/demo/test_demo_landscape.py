"""Scores all over the space of a search, and searches simulated on them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from crdiff.errors import SettingsError
from crdiff.method.groups import Ratios
from crdiff.search.strategies.point import AXES, DENSE, Point
from demo.evaluate import drawn, landscape, one_prompt, simulate
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


@pytest.fixture
def hill(tmp_path):
    """A landscape whose every image is the likelier right the nearer a configuration is to 0.4/0.4/0.4."""
    points = landscape.sobol_points(64)
    table = np.array([[point[axis] for axis in AXES] for point in points])
    chance = np.exp(-4 * ((table[:, :3] - 0.4) ** 2).sum(axis=1))
    scores = np.rint(255 * np.repeat(chance[:, None], 64, axis=1)).astype(np.uint8)
    found = Landscape("made", tuple(f"caption {number}" for number in range(16)), 4, table, scores)
    found.write(tmp_path / "80x128.npz")
    return found


def test_between_its_points_a_landscape_is_smooth_and_images_vary_as_they_should(hill):
    terrain = simulate.Terrain(hill)
    top, away = Point(0.4, 0.4, 0.4, 1.5), Point(0.1, 0.1, 0.1, 1.5)
    for point, expected in ((top, 1.0), (away, np.exp(-4 * 3 * 0.09))):
        assert terrain.means(point) == pytest.approx(expected, abs=0.05)
    drawn = np.mean([terrain.drawn(away, np.random.default_rng(n).random(64)) for n in range(100)])
    assert drawn == pytest.approx(terrain.means(away).mean(), abs=0.03)
    error, spread = terrain.left_out_error()
    assert error < spread / 2


def test_simulated_searches_climb_and_are_the_same_again(hill, tmp_path, monkeypatch):
    figures = tmp_path / "figures.json"
    command = ["simulate", "--searches", "4", "--budgets", "1", "24", "--strategies", "random", "evolution+"]
    monkeypatch.setattr(sys, "argv", [*command, "--landscapes", str(tmp_path), "--json", str(figures)])
    written = []
    for _ in range(2):
        simulate.main()
        written.append(json.loads(figures.read_text("utf-8")))
    assert written[0] == written[1]
    for first, last in written[0]["80x128"].values():
        assert first == pytest.approx(np.exp(-4 * 3 * 0.01), abs=0.06)  # where all of them start
        assert first - 0.1 < last <= 1.0


def test_drawn_searches_are_shared_by_processes_and_none_is_drawn_twice(tmp_path, monkeypatch, capsys):
    asked = []

    def scores_at(*args):
        def evaluate_many(point, images):
            asked.extend((point, image) for image in images)
            return [1.0 - point.up / 2 for _ in images]

        return evaluate_many

    monkeypatch.setattr(drawn, "DemoModel", lambda *args: SimpleNamespace(sha256="1234567890"))
    monkeypatch.setattr(drawn, "Judge", lambda **_: None)
    monkeypatch.setattr(drawn, "scores_at", scores_at)
    command = ["drawn", "80x128", "--budgets", "12", "--strategies", "random", "random+"]
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for path, seeds in ((first, ["0", "2"]), (second, ["2", "1"]), (second, ["2", "1"])):
        monkeypatch.setattr(sys, "argv", [*command, "--first", seeds[0], "--searches", seeds[1], "--json", str(path)])
        drawn.main()
        assert len(asked) == len(set(asked)) + (path == second) * 2 * 128  # dense and start, judged by both processes
    monkeypatch.setattr(sys, "argv", [*command, "--searches", "0", "--json", str(first), "--merge", str(second)])
    capsys.readouterr()
    drawn.main()
    # The score falls with the ratio of up alone, so that each search ends with the lowest it has tried, or at dense.
    assert "3 searches; dense 100.0; start 85.0" in capsys.readouterr().out
    found = json.loads(first.read_text("utf-8"))["80x128"]["found"]
    assert [one["12"] for one in found["random"].values()] == [{"point": DENSE.to_dict(), "score": 1.0}] * 2
    for one in found["random+"].values():  # a race has no dense model in it
        seen = {point.up for point, (_, noise) in asked if noise >= 1000 and not point.is_dense}
        assert min(seen) <= one["12"]["point"]["up"] < 0.3
    searched = {noise for _, (_, noise) in asked if noise >= 1000}
    assert searched == {1000, 1001, 1100, 1101, 1200, 1201}
    monkeypatch.setattr(sys, "argv", [*command, "nosuch+", "--searches", "9"])
    with pytest.raises(SettingsError, match="not 'nosuch'"):
        drawn.main()
    assert {noise for _, (_, noise) in asked if noise >= 1000} == searched  # told before anything is drawn
    monkeypatch.setattr(sys, "argv", [*command, "--judged", "4", "--searches", "1", "--json", str(first)])
    with pytest.raises(SettingsError, match="8 noises' cannot be compared"):
        drawn.main()


def test_recorded_scores_are_those_of_the_nearest_point(hill):
    terrain = simulate.Recorded(hill)
    place = hill.points[7]
    near = Point(*(float(value) + 0.004 for value in place))
    assert (terrain.means(near) == hill.scores[7] / 255).all()
    assert (terrain.drawn(near, np.zeros(64)) == terrain.means(near)).all()


def test_a_search_for_one_prompt_gains_where_prompts_differ_and_nothing_where_they_are_alike(hill):
    costs = one_prompt.Costs(64, 2, 1)
    assert costs.images == 64 * 2 + 5
    assert not one_prompt.gains(hill, costs, 2).any()
    scores = np.full_like(hill.scores, 51).reshape(65, 16, 4)
    scores[1:17][np.arange(16), np.arange(16)] = 255  # each caption has a configuration of its own, 0.8 better
    scores[20] = 102  # and one is best of all for the others
    differing = replace(hill, scores=scores.reshape(65, 64))
    assert one_prompt.gains(differing, costs, 2) == pytest.approx(0.6)

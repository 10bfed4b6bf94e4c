"""The plots of an evaluation's report: the radar, and scores and gains over the ratios."""

from __future__ import annotations

import re

import numpy as np
import pytest

from crdiff.evaluation.plots import curve, ratio_plot, score_plot
from crdiff.evaluation.radar import radar
from crdiff.evaluation.results import Score, WayResult
from crdiff.evaluation.ways import Drawing
from crdiff.intervals import Interval
from crdiff.presets.size import Size
from crdiff.settings import Settings

SIZE = Size(64, 48)


def test_the_radar_puts_the_best_on_the_rim_and_turns_distances_round():
    def way(name, distance, *means):
        scores = {axis: Score(1, Interval(mean, None, None), None, None, None) for axis, mean in zip("ab", means)}
        return WayResult(Drawing(name, Settings(), SIZE, 1.0, ""), 1, 1.0, scores, {"fid": distance})

    shown = radar([way("best", 10.0, 3.0, 0.4), way("half", 20.0, 2.0, 0.3), way("worst", 30.0, 1.0, 0.2)], {})
    web, *polygons = re.findall(r'points="([^"]*)"', shown)
    radii = []
    for polygon in polygons:
        corners = np.array([corner.split(",") for corner in polygon.split()], dtype=float)
        radii.append(
            np.linalg.norm(corners - np.array([corner.split(",") for corner in web.split()], float).mean(0), axis=1)
        )
    assert polygons[0] == web and np.allclose(radii[2] / radii[0], 0.15, atol=0.01)
    assert np.allclose(radii[1] / radii[0], 0.575, atol=0.01)
    assert radar([way("one", 1.0, 1.0, 1.0)], {}) == ""


def scored(name, mean, gain=None, **settings):
    score = Score(4, Interval(mean, mean - 1, mean + 2), gain and Interval(gain, gain - 0.5, gain + 0.5), None, None)
    drawing = Drawing(name, Settings(enabled=bool(settings), preset="custom", **settings), SIZE, 1.0, "")
    return WayResult(drawing, 4, 1.0, {"a": score}, {})


def ratios(ratio):
    return dict.fromkeys(("down", "mid", "up"), ratio)


def dots(drawing):
    return np.array(re.findall(r'<circle cx="([0-9.]+)" cy="([0-9.]+)"', drawing), dtype=float)


def test_a_plot_puts_scores_gains_and_their_intervals_where_they_belong():
    ways = [scored("dense", 10.0), scored("<b>", 14.0, 4.0, **ratios(0.2)), scored("c", 8.0, -2.0, **ratios(0.4))]
    drawn = score_plot(ways, "a", "beauty", "dense")
    assert "&lt;b&gt;" in drawn and "<b>" not in drawn and "gain over dense" in drawn
    (dense, better, worse), (up, down) = dots(drawn)[:3], dots(drawn)[3:]
    assert (better[0] - dense[0]) / (dense[0] - worse[0]) == pytest.approx(4.0 / 2.0, abs=0.01)
    assert (better[1], worse[1]) == (up[1], down[1]) and dense[1] < better[1] < worse[1]
    zero = float(re.search(r'<line x1="([0-9.]+)"[^>]*dasharray', drawn)[1])
    assert (up[0] - zero) / (zero - down[0]) == pytest.approx(4.0 / 2.0, abs=0.01)
    lines = re.findall(r'<line x1="([0-9.]+)" y1="([0-9.]+)" x2="([0-9.]+)" y2="([0-9.]+)" stroke="hsl', drawn)
    x1, y, x2, _ = map(float, lines[0])
    assert y == dense[1] and (x2 - dense[0]) / (dense[0] - x1) == pytest.approx(2.0, abs=0.02)
    # Round values inside 7 to 16 and -2.5 to 4.5, of each at most five.
    texts = [float(text) for text in re.findall(r'anchor="middle"[^>]*>([-0-9.]+)<', drawn)]
    assert texts == [10.0, 15.0, -2.0, 0.0, 2.0, 4.0]


def test_a_score_over_the_ratio_joins_ways_that_differ_in_nothing_else():
    ways = [scored("dense", 10.0), *(scored(f"{r}", 10 + 20 * r, k=1.0, **ratios(r)) for r in (0.4, 0.1, 0.2))]
    drawn = curve([*ways, scored("other k", 20.0, k=2.0, **ratios(0.3))], "a", "beauty")
    (path,) = re.findall(r'points="([^"]*)"', drawn)
    x, y = np.array([point.split(",") for point in path.split()], dtype=float).T
    assert np.allclose(np.diff(x) / np.diff(x)[0], [1, 1, 2], atol=0.01)  # 0, 10, 20 and 40 %, whatever the order
    assert np.allclose(np.diff(y) / np.diff(x), -np.ptp(y) / np.ptp(x), atol=0.01) and y[0] > y[-1]
    assert ">k 1<" in drawn and "k 2" not in drawn
    # Half the steps at 40 % and half at 0 % are 20 %; with a k of its own a stage differs in more than ratios.
    staged = [scored("staged", 14.0, k=1.0, stages=f"0.4/0.4/0.4{k}; 0/0/0 from 0.5") for k in ("", "/2")]
    assert curve([*ways[:3], staged[0]], "a", "beauty").partition("<polyline")[2] == drawn.partition("<polyline")[2]
    assert curve([ways[0], ways[1], staged[1]], "a", "beauty") == ""
    assert curve(ways[:3], "a", "beauty") and curve(ways[1:3], "a", "beauty") == ""


def test_the_ratios_of_all_stages_are_drawn():
    staged = scored("staged", 1.0, stages="0.4/0.3/0.2/1.5; 0.2/0.3/0/1.2 from 0.5")
    half = scored("half", 1.0, k=1.5, **ratios(0.5))
    drawn = ratio_plot([way.drawing for way in (scored("dense", 1.0), staged, half)])
    x = dots(drawn)[:, 0]
    left, right = (float(re.search(rf'<text x="([0-9.]+)"[^>]*>{text}<', drawn)[1]) for text in ("0%", "100%"))
    assert np.allclose((x - left) / (right - left), [0.4, 0.2, 0.3, 0.3, 0.2, 0.0, 0.5, 0.5, 0.5], atol=1e-3)
    assert re.findall(r">(k [^<]*)<", drawn) == ["k by stage", "k 1.5"]
    assert "staged" in drawn and "dense" not in drawn and ratio_plot([scored("dense", 1.0).drawing]) == ""

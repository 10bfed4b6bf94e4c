"""How an evaluation's figures are put in words."""

from __future__ import annotations

import pytest

from crdiff.evaluation.images import Plan
from crdiff.evaluation.report import interval_text
from crdiff.evaluation.results import Results, Score, WayResult
from crdiff.evaluation.summary import lines
from crdiff.evaluation.ways import Drawing
from crdiff.intervals import gain_interval, mean_interval
from crdiff.presets.size import Size
from crdiff.settings import Settings


@pytest.mark.parametrize(
    ("ours", "others", "mean", "gain", "certain"),
    [
        ([0.1, 0.1, 0.1], [0.1, 0.1, 0.1], "0.100 (the same for every prompt)", "+0.000 (no prompt differs)", False),
        ([1.0, 1.0], [0.0, 0.0], "1.000 (the same for every prompt)", "+1.000 (the same for every prompt)", False),
        ([1.0, 2.0], [1.0, 2.0], "1.500 (-4.853 to 7.853)", "+0.000 (no prompt differs)", False),
        ([2.0, 3.1], [0.0, 1.0], "2.550 (-4.438 to 9.538)", "+2.050 (+1.415 to +2.685)", True),
        ([2.0], [1.0], "2.000", "+1.000", False),
    ],
)  # fmt: skip
def test_an_interval_without_width_is_no_interval(ours, others, mean, gain, certain):
    """The others' ends by hand: of two values they lie 12.706 times half the distance from the mean."""
    found = gain_interval(ours, others)
    assert (interval_text(mean_interval(ours)), interval_text(found, signs=True)) == (mean, gain)
    assert found.certain == certain


def test_metrics_are_told_by_their_labels():
    size = Size(64, 48)
    drawing = Drawing("dense", Settings(), size, 1.0, "the model as it is", published={"clip": 0.25})
    score = Score(1, mean_interval([0.5]), None, None, None)
    way = WayResult(drawing, 1, 1.0, {"clip": score, "own-12345678": score}, {"fid": 3.0})
    results = Results({}, Plan(("a",), (1,), {size: [drawing]}), {size: [way]}, "dense")
    labels = {"clip": "CLIP score", "own-12345678": "own", "fid": "FID"}
    assert [*lines(results, labels)][1] == "  dense: CLIP score 0.500, paper 0.250; own 0.500; FID 3.000"

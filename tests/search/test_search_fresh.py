"""What a find is worth on fresh seeds."""

from __future__ import annotations

import pytest

from crdiff.search.fresh import Gain, fresh_seeds, student


@pytest.mark.parametrize(("freedom", "expected"), [(1, 12.706), (4, 2.776), (6, 2.447), (10, 2.228), (30, 2.042)])
def test_intervals_are_students(freedom, expected):
    assert student(freedom) == pytest.approx(expected, abs=2e-3)


def test_a_gain_says_whether_there_is_one():
    gain = Gain.of([0.2, 0.3, 0.25, 0.25])
    assert (gain.value, gain.low, gain.high) == pytest.approx((0.25, 0.185, 0.315), abs=1e-3)
    assert gain.sentence == (
        "On 4 images with fresh seeds it gains +0.25 (+0.185 to +0.315) over where the search started."
    )
    assert "no better than where the search started" in Gain.of([0.5, -0.4, 0.1]).sentence
    assert fresh_seeds((7, 3), 2) == (8, 9)

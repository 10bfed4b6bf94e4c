"""Hires. fix: CR-Diff in one pass or in both, each with the ratios of its own size."""

from __future__ import annotations

from typing import Any

import pytest
from hostkit.client import Drawing, Payload
from hostkit.full import full
from hostkit.infotext import group_ratios, parse
from hostkit.studio import RATIOS, Studio

HIRES: Payload = {
    "enable_hr": True,
    "hr_scale": 2,
    "hr_second_pass_steps": 2,
    # Forge does without neither of them.
    "hr_additional_modules": ["Use same choices"],
    "hr_cfg": 7,
}
OFF = {"k": 0}


@pytest.mark.parametrize(
    ("choice", "reference"),
    [
        full("both", {}, id="both"),  # that of two batches
        pytest.param("first", {"hires": OFF}, id="first"),
        pytest.param("second", {**OFF, "hires": {"k": 1.5}}, id="second"),
    ],
)
def test_choice_of_the_pass(studio: Studio, choice: str, reference: dict[str, Any]) -> None:
    mine = studio.crdiff({**RATIOS, "k": 1.5, "hires": choice}, **HIRES)
    studio.assert_reference(mine, {**RATIOS, **reference}, **HIRES)
    studio.assert_changed(mine, studio.plain(**HIRES))


def test_the_choices_differ(studio: Studio) -> None:
    drawn = [studio.crdiff({**RATIOS, "hires": choice}, **HIRES) for choice in ("both", "first", "second")]
    for index, one in enumerate(drawn):
        studio.assert_changed(one, drawn[index - 1])


def test_two_batches(studio: Studio) -> None:
    studio.check(n_iter=2, **HIRES)


def test_auto_looks_each_pass_up_by_its_own_size(studio: Studio) -> None:
    with studio.on(studio.checkpoint(family="sd15", inpainting=False)):
        # Below the table's areas only the shape tells sizes apart.
        square = ratios_of(studio.crdiff({"preset": "auto"}))
        oblong = ratios_of(studio.crdiff({"preset": "auto"}, width=128))
        assert square != oblong
        payload: Payload = {**HIRES, "hr_resize_x": 128, "hr_resize_y": 64}
        mine = studio.crdiff({"preset": "auto"}, **payload)
        studio.assert_reference(mine, {**square, "hires": oblong}, **payload)
        by_hand = "/".join(str(ratio) for ratio in oblong.values())
        studio.assert_same(studio.crdiff({**square, "hires_ratios": by_hand}, **payload), mine)
        one_size = studio.crdiff({"preset": "auto"}, **HIRES)
    found = parse(mine.infotext)
    assert ratios_of(mine) == square
    assert [float(part) for part in found["CR-Diff hires ratios"].split("/")] == list(oblong.values())
    assert ratios_of(one_size) == square
    assert "CR-Diff hires ratios" not in one_size.infotext


def ratios_of(drawing: Drawing) -> dict[str, float]:
    return group_ratios(parse(drawing.infotext))

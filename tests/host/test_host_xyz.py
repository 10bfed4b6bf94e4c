"""The X/Y/Z plot over CR-Diff's axes."""

from __future__ import annotations

from typing import Any

import pytest
from hostkit.client import Drawing
from hostkit.infotext import group_ratios, parse
from hostkit.studio import RATIOS, Studio

PLOT = "x/y/z plot"


CHOSEN = {"Draw legend": False, "Include Sub Images": True, "Use text inputs instead of dropdowns": True}
"""Controls of the plot by their labels; there are more in some hosts than in others."""


@pytest.fixture
def axes(studio: Studio) -> list[str]:
    """Labels of the plot's axes."""
    choices: list[str] = controls(studio)[0]["choices"]
    return choices


def controls(studio: Studio) -> list[dict[str, Any]]:
    """The plot's controls, in the order of its arguments."""
    infos = [entry for entry in studio.client.get("/sdapi/v1/script-info") if entry["name"] == PLOT]
    studio.need(infos, "X/Y/Z plot")
    found: list[dict[str, Any]] = next(entry for entry in infos if not entry["is_img2img"])["args"]
    return found


def plot(studio: Studio, axes: list[str], x: tuple[str, str], y: tuple[str, str], settings: dict[str, Any]) -> Drawing:
    """The single pictures of a plot, row by row."""

    def axis(name: str, values: str) -> list[Any]:
        return [axes.index(name), values, values.split(", ")]

    axes_args = [*axis(*x), *axis(*y), *axis("Nothing", "")]
    others = [CHOSEN.get(control["label"], control["value"]) for control in controls(studio)[len(axes_args) :]]
    drawn = studio.crdiff(settings, script_name=PLOT, script_args=[*axes_args, *others])
    count = len(x[1].split(", ")) * len(y[1].split(", "))
    return Drawing(drawn.pictures[-count:], drawn.infotexts[-count:], drawn.encoded[-count:])


def assert_cell(studio: Studio, cells: Drawing, number: int, expected: Drawing) -> None:
    assert (cells.pictures[number] == expected.pictures[0]).all(), f"cell {number}"
    theirs = {key: value for key, value in parse(expected.infotext).items() if key.startswith("CR-Diff")}
    mine = {key: value for key, value in parse(cells.infotexts[number]).items() if key.startswith("CR-Diff")}
    assert mine == theirs


@pytest.mark.one_host
def test_k_and_a_ratio(studio: Studio, axes: list[str]) -> None:
    cells = plot(studio, axes, ("[CR-Diff] k", "0, -1"), ("[CR-Diff] down", "0.2, 0.6"), {**RATIOS})
    for number, (down, k) in enumerate((down, k) for down in (0.2, 0.6) for k in (0, -1)):
        assert_cell(studio, cells, number, studio.crdiff({**RATIOS, "down": down, "k": k}))


@pytest.mark.one_host
def test_on_and_off_with_windows(studio: Studio, axes: list[str]) -> None:
    cells = plot(studio, axes, ("[CR-Diff] Enabled", "True, False"), ("[CR-Diff] end", "0.4, 1"), {**RATIOS})
    for number, (end, enabled) in enumerate((end, on) for end in (0.4, 1) for on in (True, False)):
        assert_cell(studio, cells, number, studio.crdiff({**RATIOS, "end": end, "enabled": enabled}))
        assert ("CR-Diff" in cells.infotexts[number]) == enabled


@pytest.mark.one_host
def test_presets(studio: Studio, axes: list[str]) -> None:
    presets = [entry for entry in studio.client.get("/crdiff/v1/presets")["presets"] if entry["family"] == "sd15"]
    names = [presets[0]["name"], presets[1]["name"]]
    cells = plot(studio, axes, ("[CR-Diff] Preset", ", ".join(names)), ("Seed", "1"), {**RATIOS})
    for number, preset in enumerate(presets[:2]):
        assert group_ratios(parse(cells.infotexts[number])) == {g: preset[g] for g in ("down", "mid", "up")}
        assert_cell(studio, cells, number, studio.crdiff({"preset": preset["name"]}))


def test_nothing_leaks_into_the_next_run(studio: Studio, axes: list[str]) -> None:
    plain, mine = studio.draw(), studio.crdiff({**RATIOS, "k": 1.5})
    plot(studio, axes, ("[CR-Diff] k", "2, 3"), ("[CR-Diff] up", "0.1, 0.7"), {**RATIOS, "enabled": True})
    after = studio.draw()
    studio.assert_same(after, plain)
    assert "CR-Diff" not in after.infotext
    studio.assert_same(studio.crdiff({**RATIOS, "k": 1.5}), mine)


def test_model_axis(studio: Studio, axes: list[str]) -> None:
    others = studio.checkpoints(layout="sd15", inpainting=False)[:2]
    studio.need(len(others) == 2, "second SD1.5 checkpoint")
    titles = [entry.title for entry in others]
    cells = plot(studio, axes, ("Checkpoint name", ", ".join(titles)), ("[CR-Diff] k", "1, 2"), {**RATIOS})
    for number, (k, checkpoint) in enumerate((k, c) for k in (1, 2) for c in others):
        with studio.on(checkpoint):
            assert_cell(studio, cells, number, studio.crdiff({**RATIOS, "k": k}))

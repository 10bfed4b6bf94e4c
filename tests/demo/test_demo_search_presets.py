"""Presets searched with criterion and k varied, and what they are judged against."""

from __future__ import annotations

import json
import sys
import zlib
from unittest.mock import Mock

import pytest

from crdiff.presets.own_document import from_text
from crdiff.presets.size import Size
from crdiff.search.strategies.point import Point
from demo.evaluate import confirm, search_presets, uniform
from demo.evaluate.cells import Cell, Measured, Protocol
from demo.evaluate.criteria import Bench
from demo.evaluate.model import DemoModel
from demo.evaluate.search_presets import Candidate, Finder
from demo.prepare import PRESETS
from demo.scenes.scene import search_scenes


@pytest.mark.full
def test_presets_are_searched_over_criteria_and_judged_against_single_ratios(checkpoint, tmp_path, monkeypatch, capsys):
    figures, own = tmp_path / "figures.json", tmp_path / "presets.json"
    own.write_text(PRESETS.read_text("utf-8"), encoding="utf-8")
    command = ["search_presets", "80x128", "--evaluations", "2", "--search-prompts", "1", "--prompts", "2"]
    command += ["--seeds", "1", "--steps", "1", "--uniform", "attenuation-outputs", "--checkpoint", str(checkpoint)]
    command += ["--work", str(tmp_path), "--json", str(figures), "--out", str(own)]
    monkeypatch.setattr(sys, "argv", command)
    # Of soft, the nearer the ratios are to 0.2 the better; captions of the race are others than the search's.
    asked = {}

    def scores_at(model, judge, size, drawing):
        def scores(point, images):
            asked.setdefault((drawing.criterion, point), []).extend(images)
            return [2 * (drawing.criterion == "soft") - sum(abs(ratio - 0.2) for ratio in point.ratios)] * len(images)

        return scores

    monkeypatch.setattr(search_presets, "scores_at", scores_at)
    search_presets.main()
    cells = json.loads(figures.read_text("utf-8"))["cells"]
    searched = next(cell for cell in cells if cell["varied"] == "searched")
    winner = Point(*searched["ratios"], searched["k"])
    raced = {point: images for (criterion, point), images in asked.items() if criterion == "soft"}
    assert searched["criterion"] == "soft" and winner == min(
        raced, key=lambda one: sum(abs(r - 0.2) for r in one.ratios)
    )
    assert {point.k == 1.0 for point in raced} == {True, False}
    assert [cell["criterion"] for cell in cells].count("attenuation-outputs") == 3
    assert len(set(raced[winner])) == 3 and {caption for caption, _ in raced[winner]} == {
        scene.caption() for scene in search_scenes(3)
    }
    (made,) = (one for one in from_text(own.read_text("utf-8")) if one.criterion == "soft")
    assert made.k == pytest.approx(winner.k, abs=1e-3)

    table = capsys.readouterr().out.splitlines()[-(len(cells) + 2) :]
    assert table[0] == "| setting | passes | 80x128 |"
    assert sum(line.startswith(f"| found by the search | {searched['passes']:g} | soft ") for line in table) == 1
    monkeypatch.setattr(DemoModel, "draw", lambda *_: pytest.fail("drawn again"))
    search_presets.main()
    assert capsys.readouterr().out.splitlines()[-len(table) :] == table


def test_of_those_that_a_race_leaves_the_one_with_fewest_passes_wins(monkeypatch):
    free, two, three = (Candidate("attenuation", Point(0.1, 0.1, 0.1, k)) for k in (1.0, 1.5, 2.0))
    ahead = {free: 0.0, two: 0.01, three: 0.02}

    def drawn(candidate, images):
        noise = [zlib.crc32(f"{candidate}{image}".encode()) % 7 / 10 for image in images]
        return [ahead[candidate] + one for one in noise]

    monkeypatch.setattr(
        search_presets,
        "scores_at",
        lambda model, judge, size, drawing: lambda point, images: drawn(Candidate("attenuation", point), images),
    )
    finder = Finder(Mock(), Mock(), Size.parse("80x128"), Protocol("", 1, 20, 1, 200, 2, 1), 4, 20, Mock())

    def winner():
        return finder.winner({one: drawn(one, range(20)) for one in ahead}, free)

    assert winner() == free
    ahead[three] = 0.3
    assert winner() == three


def test_a_second_pass_has_to_pay():
    protocol = Protocol("ab" * 32, 20, 50, 1, 200, 2, 12)
    today = Cell("80x128", "attenuation", "", "preset", (0.2, 0.2, 0.2), 1.0, 1.0, "10" * 200, (0,) * 400)

    def made(passes, right, ratio=0.1, k=1.2):
        winner = Cell("80x128", "attenuation", "", "searched", (ratio,) * 3, k, passes, right, (0,) * 400)
        measured = Measured(protocol, {cell.key: cell for cell in (today, winner)})
        return search_presets.made_preset(measured, winner)

    assert made(2.0, "11" + "10" * 199) is None and made(1.0, "10" * 200, 0.2, 1.0) is None
    for passes, right, told in ((1.0, "00" + "10" * 199, "1 UNet pass"), (2.0, "11" * 200, "2 UNet passes")):
        preset = made(passes, right)
        assert preset.k == 1.2 and preset.note.endswith(f"; {told} a step")


def test_what_was_found_is_judged_on_captions_that_it_was_not_judged_by(checkpoint, tmp_path, monkeypatch, capsys):
    sizes, drawn = ("80x128", "96x128"), []
    protocol = Protocol("cd" * 32, 20, 50, 1, 200, 2, 12)
    points = {"searched": (0.1, 0.2, 0.3), "preset": (0.2, 0.2, 0.2)}
    cells = [
        Cell(size, "attenuation", "", varied, ratios, 1.0, 1.0, "1" * 400, (0,) * 400)
        for size in sizes
        for varied, ratios in points.items()
    ]
    found, figures = tmp_path / "found.json", tmp_path / "figures.json"
    Measured(protocol, {cell.key: cell for cell in cells}).write(found)

    def judged(bench, key, point, scenes):
        drawn.append((key[0], point.ratios, point.k, scenes))
        right = {0.1: "11", 0.2: "10", 0.15: "01", 0.0: "00"}[point.down]
        right = "01" if (point.down, point.k) == (0.1, 1.5) else right
        return Cell(*key, (point.down, point.mid, point.up), point.k, 1.0, right * 2 + "11", (0,) * 6)

    monkeypatch.setattr(Bench, "judged", judged)
    command = ["confirm", "--found", str(found), "--captions", "3", "--checkpoint", str(checkpoint)]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(figures)])
    confirm.main()
    assert [scenes for *_, scenes in drawn] == 2 * 5 * [slice(200, None)]
    out = capsys.readouterr().out.splitlines()
    rows = {name: cells for name, *cells in (line.removesuffix(" |")[2:].split(" | ") for line in out[-7:])}
    assert rows["setting"] == ["80x128", "96x128", "all sizes"]
    # Of three captions the third is right whoever draws it: 1/2 less of the two others is 1/3 less of all.
    winner, before, dense = (rows[name] for name in ("found by the search", "the preset before", "dense"))
    assert winner == ["100.0", "100.0", ""]
    assert before[0].startswith("66.7 (**-33.3 ± ") and before[2].startswith("**-33.3 ± ")
    assert dense[1].startswith("33.3 (**-66.7 ± ")
    confirm.main()
    assert len(drawn) == 10


def test_a_setting_is_judged_until_it_is_worse_than_the_winner():
    protocol = Protocol("", 1, 1, 1, 200, 2, 1)
    winner = Cell("80x128", "soft", "", "searched", (0.1, 0.1, 0.1), 1.4, 2.0, "10" * 200, (0,) * 400)

    def captions(right):
        bench, drawn = Mock(), []

        def judged(key, point, scenes):
            drawn.append(scenes)
            count = scenes.stop - scenes.start
            return Cell(*key, (0.3, 0.3, 0.3), 1.0, 1.0, right * count, (0,) * 2 * count)

        bench.judged = judged
        cell = uniform.challenge(bench, Measured(protocol, {}), uniform.Uniform("magnitude", 0.3), winner)
        assert len(cell.right) == 2 * sum(scenes.stop - scenes.start for scenes in drawn)
        return len(cell.right) // 2

    assert captions("00") == 50 and captions("10") == captions("11") == 200

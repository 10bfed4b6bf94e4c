"""What is asked of a search and what is shown of it, without a host."""

from __future__ import annotations

import html
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from PIL import Image

from crdiff.errors import SettingsError
from crdiff.models.checkpoint import Checkpoint
from crdiff.presets.size import Size
from crdiff.search.report import Evaluation, Report
from crdiff.search.strategies.point import DENSE, Point
from crdiff.settings import Settings
from crdiff.webui.search.monitor import SearchMonitor, SearchStatus, Thumbnail, duration, thumbnail
from crdiff.webui.search.panel import Mark, best_ten, draw_curve, draw_map, panel_html
from crdiff.webui.search.request import SearchRequest, read_lines, read_seeds
from crdiff.webui.search.score_table import scores_html


def evaluation(number, score, ratios, kind="neighbour", k=1.0):
    point = DENSE if kind == "baseline" else Point(*ratios, k)
    return Evaluation(number, point, kind, score, score, (score,), True, False)


HISTORY = (
    evaluation(1, 0.2, None, "baseline"),
    evaluation(2, 0.5, (0.3, 0.3, 0.3), "seed"),
    evaluation(3, None, (0.8, 0.8, 0.8)),
    evaluation(4, 0.4, (0.2, 0.4, 0.6)),
    evaluation(5, 0.7, (0.25, 0.35, 0.45)),
    evaluation(6, 0.7, (0.25, 0.35, 0.45)),
)
REPORT = Report(evaluations=5, seconds_left=200.0, baseline=HISTORY[0], best=HISTORY[4], history=HISTORY)


def marks(history=HISTORY):
    return [Mark(entry.number, entry.score, entry.point.to_dict(), entry.kind == "baseline") for entry in history]


def test_a_request_comes_back_from_its_own_text():
    request = SearchRequest.from_dict({"evaluations": 12, "seeds": [1, 2], "vary": ["down", "k"], "prompts": None})
    assert SearchRequest.from_text(json.dumps(request.to_dict())) == request
    assert SearchRequest.from_text("") == SearchRequest()
    assert request.seeds == (1, 2)


def test_seeds_at_random_are_seeds_of_their_own():
    request = SearchRequest(seeds=[-1, 7, -1])
    one, seven, other = request.fixed_seeds()
    assert seven == 7 and one != other and min(one, other) >= 0
    assert request.fixed_seeds() != (one, seven, other)


def test_a_greater_budget_is_the_same_search():
    assert SearchRequest(evaluations=20).course() == SearchRequest(evaluations=100, minutes=3.0).course()
    assert SearchRequest(evaluations=300).iterations == 300
    assert SearchRequest(evaluations=None, minutes=5.0).iterations == 120


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"evaluation": 3}, "'evaluation'"),
        ({"evaluations": None}, "budget"),
        ({"vary": "down"}, "vary"),
        ({"seeds": 3}, "seeds"),
        ({"seeds": [-2]}, "image seed of a search must be an integer in"),
        ({"seeds": [1 << 64]}, "image seed of a search must be an integer in"),
        ({"seeds": [3, 3]}, "same image seed twice"),
        ({"score": 1}, "score"),
        ({"hires": 1}, "hires"),
        ({"trial_k": 0}, "must not be 0"),
        ({"trial_k": 9}, r"must lie in \[-2, 3\]"),
        ({"starts": [{"down": 5}]}, "A configuration has the keys"),
        ({"starts": [{"down": 5, "mid": 0.3, "up": 0.3, "k": 1}]}, "down"),
        ({"journal": "../presets.json"}, "journal"),
        ([], "object"),
    ],
)
def test_a_request_that_cannot_be_used_is_refused_in_words(values, named):
    with pytest.raises(SettingsError, match=named):
        SearchRequest.from_dict(values)
    with pytest.raises(SettingsError, match="JSON"):
        SearchRequest.from_text("{")


def test_lists_are_read_from_text():
    assert read_lines(" a cat \n\n a dog") == ["a cat", "a dog"]
    assert read_lines(" \n") is None
    assert read_seeds("3, 1;2 3") == [3, 1, 2]
    assert read_seeds("") is None
    assert read_seeds("-1 7, -1") == [-1, 7, -1]
    for bad in ("-2", "1.5", "one", "--1"):
        with pytest.raises(SettingsError, match=re.escape(bad)):
            read_seeds(bad)


def test_curve_shows_every_score_and_the_best_so_far():
    drawing = ElementTree.fromstring(draw_curve(marks()))
    dots = [shape for shape in drawing.iter() if shape.tag == "circle"]
    assert len(dots) == 5
    heights = [float(dot.get("cy")) for dot in dots]
    assert heights[0] == max(heights)
    assert heights[3] == min(heights)
    (line,) = [shape for shape in drawing.iter() if shape.tag == "path"]
    tops = [float(value) for value in re.findall(r"V([\d.]+)", line.get("d"))]
    assert tops == [heights[1], heights[3]]
    assert "".join(drawing.itertext()).count("dense") == 1
    assert "best 0.7" in drawing.get("aria-label")


def test_map_is_darker_where_scores_are_better():
    drawing = ElementTree.fromstring(draw_map(marks()))
    dots = [shape for shape in drawing.iter() if shape.tag == "circle"]
    assert len(dots) == 3 * (5 + 1)
    shades = [float(dot.get("fill-opacity")) for dot in dots if dot.get("fill-opacity")]
    assert shades[:4] == sorted(shades[:4])
    rings = [dot for dot in dots if dot.get("class") == "crdiff-best"]
    assert len(rings) == 3


def test_drawings_of_little_are_no_error():
    assert draw_curve([]) == draw_map([]) == ""
    assert draw_map(marks(HISTORY[:1])) == ""
    only = [Mark(1, None, Point(0.1, 0.1, 0.1).to_dict())]
    assert draw_curve(only) == ""
    ElementTree.fromstring(draw_map(only))
    ElementTree.fromstring(draw_curve(marks(HISTORY[:1])))


def test_table_has_each_configuration_once_best_first():
    assert [entry.number for entry in best_ten(REPORT)] == [5, 2, 4]
    many = [evaluation(n, n / 100, (0.1 + n / 100, 0.2, 0.3)) for n in range(1, 30)]
    assert [entry.number for entry in best_ten(Report(history=tuple(many)))] == list(range(29, 19, -1))


def test_panel_applies_what_it_shows():
    found_for = {
        "criterion": "attenuation", "layers": "attention", "threshold": "layer", "attention_scale": "0.9",
        "size_conditioning": "native",
    }  # fmt: skip
    drawn_with = Settings(k=1.7, start=0.1, end=0.9, mode="fast", **found_for)
    shown = panel_html(SearchStatus("running", report=REPORT, evaluations=40, settings=drawn_with, score_name="own"), 7)
    values = [json.loads(html.unescape(text)) for text in re.findall(r'data-crdiff-apply="([^"]*)"', shown)]
    others = {"start": 0.1, "end": 0.9, "mode": "fast", **found_for}
    assert values[0] == {"down": 0.25, "mid": 0.35, "up": 0.45, "k": 1.0, "stages": "", **others}
    row = re.search("<tbody><tr>(.*?)</tr>", shown)[1]
    assert re.findall("<td>([^<]*)</td>", row)[1:] == ["0.700", "0.250", "0.350", "0.450", "1"]
    assert 'data-crdiff-search="running"' in shown
    assert 'data-crdiff-version="7"' in shown
    assert 'data-crdiff-found="True"' in shown
    ElementTree.fromstring(shown)
    # Over stages, what differs is shown stage by stage.
    point = Point(0.25, 0.35, 0.45, 1.5, (Point(0.5, 0.35, 0.45, 2.0),))
    best = Evaluation(1, point, "sample", 0.7, 0.7, (0.7,), True, False)
    shown = panel_html(SearchStatus("done", report=Report(best=best, history=(best,))), 7)
    (values,) = [json.loads(html.unescape(text)) for text in re.findall(r'data-crdiff-apply="([^"]*)"', shown)]
    assert (values["stages"], values["k"]) == ("0.25/0.35/0.45/1.5; 0.5/0.35/0.45/2 from 0.5", None)
    row = re.search("<tbody><tr>(.*?)</tr>", shown)[1]
    assert re.findall("<td>([^<]*)</td>", row)[1:] == ["0.700", "0.250 → 0.500", "0.350", "0.450", "1.5 → 2"]


def test_the_best_can_be_applied_below_its_image_and_nothing_where_nothing_was_found():
    image = Thumbnail("data:image/jpeg;base64,", "k 1.5")
    shown = panel_html(SearchStatus("done", report=REPORT, best=image, dense=image), 1)
    assert re.findall("<span>([^<]*)</span>", shown) == ["0.200", "0.700"]  # the scores of status, table and curve
    dense, found = ElementTree.fromstring(re.sub("<img[^>]*>", "", shown)).iter("figure")
    assert dense.find("button") is None
    assert json.loads(found.find("button").get("data-crdiff-apply"))["down"] == 0.25
    nothing = panel_html(SearchStatus("done", report=Report(best=HISTORY[0]), best=image), 1)
    assert "data-crdiff-apply" not in nothing
    assert 'data-crdiff-found="False"' in nothing


def test_scores_are_listed_with_a_line_each():
    address = "ImageReward needs ImageReward.pt from https://huggingface.co/THUDM/ImageReward: download it."
    table = ElementTree.fromstring(scores_html({"imagereward": address, "own": "<no file>", "eye": None}))
    rows = [tuple(cell.text for cell in row) for row in table]
    needs = "needs its files: Advanced, Files of the scores"
    assert rows == [("imagereward", needs), ("own", "<no file>"), ("eye", "can be used")]
    assert table[0].get("title") == address


def test_status_says_how_far_and_how_long():
    text = SearchStatus("running", report=REPORT, evaluations=40, score_name="own").text
    assert text == "Running: 5 of 40 evaluations, best 0.700, dense 0.200, about 3 min left (own)."
    assert SearchStatus("stopped", "Stopped.", report=REPORT).text.endswith("Stopped.")
    assert SearchStatus().text == ""
    assert SearchStatus("running").text == "Running: preparing."
    last = SearchStatus("running", report=replace(REPORT, seconds_left=0.0), evaluations=5)
    assert last.text == "Running: 5 of 5 evaluations, best 0.700, dense 0.200."
    assert [duration(s) for s in (0.2, 70, 600, 9000)] == ["about 1 s", "about 70 s", "about 10 min", "about 2.5 h"]


def test_the_panel_names_what_the_search_belongs_to():
    of = {"size": Size(96, 64), "checkpoint": Checkpoint("model", None, None), "report": REPORT}
    one = SearchStatus("done", prompts=("a <red> house",), seeds=(5,), **of)
    assert "For “a &lt;red&gt; house”, 96x64 (height x width), model, seed 5" in panel_html(one, 1)
    many = SearchStatus("done", prompts=("a" * 70, "b", "c"), seeds=(5, 6), **of)
    assert many.subject == f"For “{'a' * 60}...” and 2 more, 96x64 (height x width), model, seeds 5, 6"
    assert SearchStatus("waiting", "Waiting in the host's queue.").text == "Waiting in the host's queue."


def test_text_from_outside_is_escaped():
    image = Thumbnail("data:image/jpeg;base64,", "<b>caption</b>")
    shown = panel_html(SearchStatus("failed", "<script>", best=image), 1)
    assert "<script>" not in shown
    assert "<b>caption" not in shown
    assert "crdiff-problem" in shown


def test_the_dense_model_is_nothing_found():
    assert SearchStatus(report=REPORT).found is HISTORY[4]
    assert SearchStatus(report=Report(best=HISTORY[0])).found is None
    assert SearchStatus().found is None


def test_monitor_counts_its_versions():
    monitor = SearchMonitor(stop_requested=True)
    monitor.begin(SearchStatus("running"))
    assert not monitor.stop_requested
    assert monitor.update(message="x").state == "running"
    assert monitor.version == 2
    assert thumbnail(Image.new("RGB", (900, 600))).startswith("data:image/jpeg;base64,")

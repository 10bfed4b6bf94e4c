"""The demo's page in a browser: from its defaults to a comparison."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from browser.search_panel import Search
from PIL import Image

from demo.prepare import CRITERION
from demo.scenes.scene import Scene
from demo.scenes.scorer import load_scorer
from demo.score import WEIGHTS

pytestmark = pytest.mark.browser
PANEL = "#txt2img_results .crdiff-compare"
RATIOS = {"down": 0.31, "mid": 0.32, "up": 0.33}
FEW_STEPS = 3


@pytest.fixture(scope="module", params=[4, pytest.param(3, marks=pytest.mark.full)], ids=["gradio4", "gradio3"])
def server(request, demo):
    return demo(request.param)


def drawn(server, settings, **fields):
    """An image by the API, and its text."""
    request = {"prompt": "a red house left of a yellow tree, by day", "seed": 1, "steps": FEW_STEPS, "cfg_scale": 3.5}
    request |= {"height": 96, "width": 128, "sampler_name": "DPM++ 2M", "scheduler": "Uniform", **fields}
    request["alwayson_scripts"] = {"cr-diff": {"args": [settings]}}
    answer = server.post("/sdapi/v1/txt2img", request)
    return Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))), json.loads(answer["info"])["infotexts"][0]


def compare(host_page, server):
    """Presses Compare; of each way the lines above its images, all images, and the sentences of the panel."""
    before = shown_key(host_page)
    host_page.one("demo_compare").click()
    host_page.page.wait_for_function(
        "([panel, before]) => (document.querySelector(panel)?.dataset.crdiffCompare ?? '') !== before",
        arg=[PANEL, before],
    )
    headers = host_page.page.locator(f"{PANEL} header").all()
    captions = [[part.inner_text() for part in header.locator("> *").all()] for header in headers]
    sources = [image.get_attribute("src") for image in host_page.page.locator(f"{PANEL} figure img").all()]
    images = [Image.open(io.BytesIO(server.download(f"/{source}"))) for source in sources]
    return captions, images, host_page.page.locator(f"{PANEL} .crdiff-compare-sentences p").all_inner_texts()


def shown_key(host_page):
    """What the panel says of its comparison; empty if there is none."""
    return host_page.page.evaluate("panel => document.querySelector(panel)?.dataset.crdiffCompare ?? ''", PANEL)


def shown_pair(host_page):
    """Of the viewer: the addresses of its two images, and what it says of the seed."""
    sides = [
        host_page.page.locator(f"{PANEL} .crdiff-compare-{side}").get_attribute("src") for side in ("left", "right")
    ]
    return *sides, host_page.page.locator(f"{PANEL} .crdiff-compare-seed").inner_text()


def same(one, other):
    return np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))


def test_a_visitor_picks_a_size_and_compares(host_page, server):
    assert Scene.from_caption(host_page.prompt()).is_held_out()
    defaults = {"height": 80, "width": 128, "steps": 12, "cfg_scale": 3, "seed": 1, "batch_size": 8}
    host_page.wait_numbers({f"txt2img_{name}": value for name, value in defaults.items()})
    host_page.wait_chosen("txt2img_sampling", "DPM++ 2M")
    assert CRITERION == "attenuation"
    host_page.wait_chosen("txt2img_crdiff_criterion", CRITERION)
    button = host_page.one("demo_example_3")
    example = button.inner_text()
    button.click()
    host_page.wait_prompt(example)
    host_page.set_number("txt2img_steps", FEW_STEPS)
    host_page.set_number("txt2img_batch_size", 2)
    host_page.one("demo_size_96x128").click()
    captions, images, sentences = compare(host_page, server)
    assert [caption[0] for caption in captions] == ["dense", "pruned (k = 1)", "CR-Diff"]
    assert all(caption[1].endswith(" s") for caption in captions)
    assert [image.size for image in images] == [(128, 96)] * 6
    assert all(image.info["parameters"].startswith(f"{example}\n") for image in images)
    scored = WEIGHTS.is_file()
    # There are no presets for a random model; the accordion is off, and so Auto with its criterion stands in.
    assert all(caption[-1].startswith("no ratios have been found for this criterion") for caption in captions[1:])
    texts = [image.info["parameters"] for image in images]
    assert [f"CR-Diff criterion: {CRITERION}" in text for text in texts] == [False] * 2 + [True] * 4
    assert any(text.startswith("No scores: ") for text in sentences) != scored
    assert all((" of 2 right, " in caption[1]) == scored for caption in captions)
    marks = host_page.page.locator(f"{PANEL} figcaption").all_inner_texts()
    assert all(re.fullmatch(r"(right|wrong) [01]\.\d\d", mark) for mark in marks) and len(marks) == (6 if scored else 0)
    # The pair of the moment: keys step through the seeds, a select changes a side, a box shows the difference.
    figures = [image.get_attribute("src") for image in host_page.page.locator(f"{PANEL} figure img").all()]
    assert shown_pair(host_page) == (figures[0], figures[4], "Seed 1 (1 of 2)")
    host_page.page.locator(PANEL).first.focus()
    host_page.page.keyboard.press("ArrowRight")
    assert shown_pair(host_page) == (figures[1], figures[5], "Seed 2 (2 of 2)")
    host_page.page.keyboard.press("ArrowRight")
    host_page.page.locator(f"{PANEL} [data-crdiff-side=right]").select_option("pruned")
    assert shown_pair(host_page) == (figures[0], figures[2], "Seed 1 (1 of 2)")
    host_page.page.locator(f"{PANEL} .crdiff-compare-pair input").fill("20")
    assert (
        host_page.page.evaluate(
            "panel => getComputedStyle(document.querySelector(`${panel} .crdiff-compare-right`)).clipPath", PANEL
        )
        == "inset(0px 0px 0px 20%)"
    )
    host_page.page.locator(f"{PANEL} .crdiff-compare-difference").check()
    assert (
        host_page.page.evaluate(
            "panel => getComputedStyle(document.querySelector(`${panel} .crdiff-compare-right`)).mixBlendMode", PANEL
        )
        == "difference"
    )


def test_what_compare_shows_is_what_the_host_draws(host_page, server):
    prompt = "a red house left of a yellow tree, by day"
    host_page.fill_prompt(prompt)
    host_page.set_number("txt2img_steps", FEW_STEPS)
    host_page.set_number("txt2img_cfg_scale", 3.5)
    host_page.set_number("txt2img_batch_size", 1)
    host_page.one("demo_size_96x128").click()
    host_page.open_accordion("txt2img_crdiff")
    host_page.choose("txt2img_crdiff_preset", "Custom")
    host_page.open_accordion("txt2img_crdiff_details")
    for name, value in RATIOS.items():
        host_page.set_number(f"txt2img_crdiff_{name}", value)
    captions, images, _ = compare(host_page, server)
    assert [caption[2:] for caption in captions] == [[], ["custom ratios"], ["custom ratios"]]
    for image, settings in zip(images, ({"enabled": False}, {**RATIOS, "k": 1.0}, {**RATIOS, "k": 1.5})):
        expected, text = drawn(server, {"enabled": True, "criterion": CRITERION, **settings}, prompt=prompt)
        assert same(image, expected)
        assert image.info["parameters"] == text
    assert not same(images[0], images[1])
    assert not same(images[0], images[2])
    assert len(host_page.gallery_images()) >= 3
    # The next job is the host's own again, and the panel goes.
    assert "Compare" not in host_page.generate()
    host_page.wait_chosen("script_list", "None")
    host_page.page.wait_for_function("() => !document.querySelector('#txt2img_results .crdiff-compare')")


def test_ratios_are_searched_with_the_demos_own_score(host_page, server):
    prompt = "a red house left of a yellow tree, by day"
    search = Search(host_page).open(prompt, steps=FEW_STEPS, width=128, height=96, seed=1, cfg_scale=3.5)
    search.number("evaluations", 3)
    search.press("start")
    assert re.match(r"Done: 3 of 3 evaluations, best [\d.e-]+, dense [\d.e-]+ \(own\)\.", search.ended("done"))
    figure = search.page.locator(f"#{search.id}panel figure", has_text="Dense").first
    dense, _ = drawn(server, {"enabled": False}, prompt=prompt)
    (expected,) = load_scorer(WEIGHTS).score([dense], prompt)
    assert float(figure.locator("figcaption span").inner_text()) == pytest.approx(expected, rel=0.1, abs=5e-4)
    search.page.locator(f"#{search.id}panel .crdiff-apply").first.click()
    host_page.wait_chosen("txt2img_crdiff_preset", "Custom")

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

from crdiff.settings import Settings
from demo.compare.scores import WEIGHTS
from demo.compare.variants import variants
from demo.scenes.scene import Scene
from demo.scenes.scorer import load_scorer

pytestmark = pytest.mark.browser
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


def compare(host_page):
    """Presses Compare; of each variant the lines above its images, all images, and the sentences of the panel."""
    before = host_page.page.locator("#demo_panel").first.inner_html()
    host_page.one("demo_compare").click()
    host_page.page.wait_for_function(
        "before => document.querySelectorAll('#demo_panel figure').length"
        " && document.querySelector('#demo_panel').innerHTML !== before",
        arg=before,
    )
    headers = host_page.page.locator("#demo_panel header").all()
    captions = [[part.inner_text() for part in header.locator("> *").all()] for header in headers]
    sources = [image.get_attribute("src") for image in host_page.page.locator("#demo_panel img").all()]
    images = [Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources]
    return captions, images, host_page.page.locator("#demo_panel .demo-sentences p").all_inner_texts()


def same(one, other):
    return np.array_equal(np.asarray(one.convert("RGB")), np.asarray(other.convert("RGB")))


def test_a_visitor_picks_a_size_and_compares(host_page, server):
    assert Scene.from_caption(host_page.prompt()).is_held_out()
    names = ("height", "width", "steps", "cfg_scale", "seed", "batch_size")
    shown = {name: host_page.number(f"txt2img_{name}") for name in names}
    assert shown == {"height": 80, "width": 128, "steps": 12, "cfg_scale": 3, "seed": 1, "batch_size": 8}
    assert host_page.chosen("txt2img_sampling") == "DPM++ 2M"
    button = host_page.one("demo_example_3")
    example = button.inner_text()
    button.click()
    host_page.page.wait_for_function(
        "text => document.querySelector('#txt2img_prompt textarea').value === text", arg=example
    )
    host_page.set_number("txt2img_steps", FEW_STEPS)
    host_page.set_number("txt2img_batch_size", 2)
    host_page.one("demo_size_96x128").click()
    captions, images, sentences = compare(host_page)
    assert [caption[0] for caption in captions] == ["dense", "CR-Diff", "pruned only (k = 1)"]
    assert all(caption[1].endswith(" s") for caption in captions)
    assert [image.size for image in images] == [(128, 96)] * 6
    assert all(image.info["parameters"].startswith(f"{example}\n") for image in images)
    # There are no presets for a random model.
    scored = WEIGHTS.is_file()
    assert [text.partition(":")[0] for text in sentences] == ["CR-Diff did not act", *([] if scored else ["No score"])]
    assert all((" of 2 right, " in caption[1]) == scored for caption in captions)
    marks = host_page.page.locator("#demo_panel figcaption").all_inner_texts()
    assert all(re.fullmatch(r"[✓✗] [01]\.\d\d", mark) for mark in marks) and len(marks) == (6 if scored else 0)


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
    captions, images, _ = compare(host_page)
    assert [caption[2:] for caption in captions] == [[], ["custom ratios"], ["custom ratios"]]
    for image, settings in zip(images, ({"enabled": False}, {**RATIOS, "k": 1.5}, {**RATIOS, "k": 1.0})):
        expected, text = drawn(server, {"enabled": True, **settings}, prompt=prompt)
        assert same(image, expected)
        assert image.info["parameters"] == text
    assert not same(images[0], images[1])
    assert not same(images[0], images[2])
    assert len(host_page.gallery_images()) >= 3
    # The next job is the host's own again, and the panel goes.
    assert "Compare" not in host_page.generate()
    assert host_page.chosen("script_list") == "None"
    host_page.page.wait_for_function("() => !document.querySelector('#demo_panel figure')")


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
    host_page.page.wait_for_function("() => document.querySelector('#txt2img_crdiff_preset input').value === 'Custom'")


def test_auto_stands_in_where_the_accordion_is_off():
    dense, amplified, pruned = variants(Settings(enabled=False, preset="custom", k=2.0))
    assert not dense.settings.enabled
    assert (pruned.settings.preset, pruned.settings.k) == ("auto", 1.0)
    assert amplified.settings == Settings(enabled=True)
    dense, amplified, pruned = variants(Settings(enabled=True, preset="custom", k=2.0, end=0.5))
    assert not dense.settings.enabled
    assert (pruned.settings.k, pruned.settings.end) == (1.0, 0.5)
    assert amplified.settings == Settings(enabled=True, preset="custom", k=2.0, end=0.5)

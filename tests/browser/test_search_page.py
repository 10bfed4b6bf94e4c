"""Search ratios for this prompt, in a browser: from the button to a preset."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from .search_panel import FIELDS, GROUPS, PATIENCE_MS, Search

SCORE = """
import numpy

def score(images, prompt):
    return [1.0 - float(numpy.asarray(image).mean()) / 255 for image in images]
"""


@pytest.fixture
def fresh(host_page):
    """An empty search and the values of a page just loaded; loading takes seconds, so only where they matter."""
    if host_page.page.used:
        host_page.reload()


@pytest.fixture(scope="module", autouse=True)
def own_score(server):
    """A score for the search, there before the page is loaded."""
    (server.data / "crdiff").mkdir(exist_ok=True)
    (server.data / "crdiff" / "score.py").write_text(SCORE, encoding="utf-8")


@pytest.fixture(autouse=True)
def no_presets_left(server):
    """The server is shared with tests that count the user's own presets."""
    server.post("/sdapi/v1/options", {"sd_model_checkpoint": "tiny-sd15-a"})
    yield
    (server.data / "crdiff" / "presets.json").unlink(missing_ok=True)


@pytest.mark.usefixtures("fresh")
def test_a_search_is_started_watched_applied_and_saved(host_page, server):
    prompt = "a small red house"
    search = Search(host_page).open(prompt)
    # What has nothing to act on is not shown.
    for name in ("stop", "save", "low_k"):
        expect(search.one(name)).to_be_hidden()
    search.one("vary").get_by_text("k", exact=True).click()
    expect(search.one("low_k")).to_be_visible()
    search.one("vary").get_by_text("k", exact=True).click()
    expect(search.one("low_k")).to_be_hidden()
    search.press("test")
    search.message("There is no image in the gallery")
    search.number("low", 0.9)
    search.press("start")
    search.message("lower bound")
    search.number("low", 0.1)
    search.number("fresh_seeds", 0)
    search.number("evaluations", 4)
    search.press("start")
    assert "Done: 4 of 4 evaluations" in search.ended("done")
    panel = search.panel()
    assert panel.locator("figure img").count() == 2
    assert panel.locator("svg").count() == 2
    assert len(host_page.gallery_images()) >= 2
    # The next job is the host's own.
    host_page.wait_chosen("script_list", "None")
    row = panel.locator("tbody tr").first
    shown = [float(text) for text in row.locator("td").all_inner_texts()[2:5]]
    row.locator("[data-crdiff-apply]").click()
    search.ratios_become(shown)
    host_page.wait_chosen("txt2img_crdiff_preset", "Custom")
    # The score of the best image, at the user's k, is the one that the panel shows.
    search.press("test")
    tested = float(re.search(r"own gives the image ([\d.]+) for “a small red house”", search.message("gives"))[1])
    best = float(panel.locator("figure").nth(1).locator("figcaption span").inner_text())
    assert tested == pytest.approx(best, abs=6e-4)
    assert_readable(host_page.page, search)
    search.one("name").locator("textarea, input").first.fill("found")
    search.one("scope").locator("label", has_text="every prompt with this checkpoint").click()
    search.press("save")
    search.message("Saved found for SD1.x, 96x64")
    found = next(x for x in server.get("/crdiff/v1/presets")["presets"] if x["name"] == "found")
    assert [round(found[group], 3) for group in GROUPS] == shown
    search.one("scope").locator("label", has_text="this prompt").click()
    search.one("name").locator("textarea, input").first.fill("for the house")
    search.press("save")
    search.message("Saved for the house for this prompt at 96x64")

    # A reloaded page shows the last search; Resume goes on with it as it was begun, whatever the tab says.
    search.reload("done")
    search.open("another prompt", width=128)
    search.number("evaluations", 6)
    search.press("resume")
    search.message(r"Resuming tiny-sd15-a, 96x64 \(height x width\), 4 evaluations: a small red house")
    assert "Done: 6 of 6 evaluations" in search.ended("done")
    assert "Size: 64x96" in host_page.info()
    # What was found is offered where prompt and size come back, and nowhere else.
    assert "Found earlier" not in search.one("remembered").inner_text()
    host_page.set_number("txt2img_width", 64)
    host_page.fill_prompt(prompt)
    search._wait("remembered", "for the house")
    offered = search.one("remembered").locator("li")
    assert [text.partition(":")[0] for text in offered.all_inner_texts()] == ["for the house", "last search"]
    offered.first.locator("button").click()
    search.ratios_become([round(found[group], 4) for group in GROUPS])


@pytest.mark.one_page
@pytest.mark.usefixtures("fresh")
def test_a_search_survives_skip_and_reload_and_is_stopped(host_page, server):
    page = host_page.page
    host_page.fill_prompt("a barn")
    before = host_page.generate(**{**FIELDS, "steps": 6})
    search = Search(host_page).open("a barn", steps=6)
    search.number("evaluations", 400)
    search.press("start")
    search.shows("Running: [2-9]")
    expect(search.one("stop")).to_be_visible()
    for name in ("score", "start", "advanced"):
        expect(search.one(name)).to_be_hidden()
    host_page.one("txt2img_skip").click()
    search.reload("running")
    search.unfold()
    seen = int(re.search(r"Running: (\d+)", search.panel().inner_text())[1])
    page.wait_for_function(
        "([id, seen]) => Number(/Running: (\\d+)/.exec(document.getElementById(id).innerText)?.[1]) > seen",
        arg=[f"{search.id}panel", seen],
    )
    search.press("stop")
    search.shows("Stopped: .* the best so far is kept")
    host_page.page.wait_for_function("() => !document.querySelector('.progressDiv')")
    search.open("a barn", steps=6)
    host_page.one("txt2img_crdiff-visible-checkbox").click()
    assert host_page.generate() == before


@pytest.mark.one_page
def test_your_own_eye_picks_by_button_and_key(host_page):
    page = host_page.page
    search = Search(host_page).open("a mill")
    host_page.choose(f"{search.id}score", "eye (you pick)")
    search.number("evaluations", 4)
    search.press("start")
    first = page.locator(f'#{search.id}panel [data-crdiff-question="1"]')
    first.wait_for()
    assert first.locator("img").count() == 2
    assert "a mill" in first.inner_text()
    page.wait_for_function(
        "() => { const {top, bottom} = document.querySelector('[data-crdiff-question]').getBoundingClientRect();"
        " return Math.ceil(top) >= 0 && Math.floor(bottom) <= innerHeight; }"  # it scrolls by whole pixels
    )
    seen = images(first)
    first.locator("button", has_text="No difference").click()
    second = page.locator(f'#{search.id}panel [data-crdiff-question="2"]')
    second.wait_for()
    host_page.one("txt2img_generate").focus()
    page.keyboard.press(("ArrowLeft", "ArrowRight")[new_one(second, seen)])
    page.locator(f'#{search.id}panel [data-crdiff-question="3"]').wait_for()
    search.press("stop")
    assert "Stopped: 3 of 4 evaluations" in search.ended("stopped")
    # The answers given are not asked for again.
    search.press("resume")
    last = page.locator(f'#{search.id}panel [data-crdiff-question="1"]')
    last.wait_for()
    last.locator("button", has_text=("The left one", "The right one")[new_one(last, seen)]).click()
    assert "Done: 4 of 4 evaluations, best 2.000, dense 0.000 (eye)" in search.ended("done")


def assert_readable(page, search):
    """While gradio waits for an answer, and as narrow as a phone."""
    opacity = page.evaluate(
        "id => { const shown = document.querySelector(`#${id} > :last-child`); shown.classList.add('pending');"
        " const {opacity} = getComputedStyle(shown); shown.classList.remove('pending'); return opacity; }",
        f"{search.id}panel",
    )
    assert opacity == "1"
    page.set_viewport_size({"width": 390, "height": 1000})
    try:
        edge = search.panel().locator("tbody tr").first.locator("button").bounding_box()
        assert edge["x"] + edge["width"] <= 390 and page.evaluate(
            "() => document.documentElement.scrollWidth <= innerWidth"
        )
    finally:
        page.set_viewport_size({"width": 1400, "height": 1000})


def images(question):
    return [image.get_attribute("src") for image in question.locator("img").all()]


def new_one(question, seen):
    """On which side the candidate is, 0 or 1: the other image was seen before."""
    now = images(question)
    (side,) = [place for place, image in enumerate(now) if image not in seen]
    seen += now
    return side


@pytest.mark.one_page
def test_a_download_says_what_from_where_and_why_not(host_page, server):
    search = Search(host_page).open("a well")
    host_page.open_accordion(f"{search.id}files")
    offer = search.one("offer")
    offer.wait_for(state="visible")
    assert "ImageReward v1.0 (1.8 GB) from https://huggingface.co/THUDM/ImageReward" in offer.inner_text()
    search.one("source").locator("label", has_text="PickScore").click()
    search._wait("offer", "PickScore v1 .3.9 GB. from")
    search.one("source").locator("label", has_text="ImageReward").click()
    search._wait("offer", "ImageReward v1.0")
    search.press("download")
    search._wait("download_progress", "ImageReward.pt could not be fetched from")
    said = search.one("download_progress").inner_text()
    (folder,) = re.findall(r" to (\S+ImageReward)\.", offer.inner_text())
    assert f"without a network, put it into {folder} by hand" in said
    # A page that is loaded again still shows it.
    host_page.page.reload(wait_until="domcontentloaded", timeout=PATIENCE_MS)
    host_page.page.wait_for_function(
        "id => document.getElementById(id)?.textContent.includes('could not be fetched')",
        arg=f"{search.id}download_progress",
        timeout=PATIENCE_MS,
    )


@pytest.mark.one_page
def test_img2img_is_searched_with_its_image(host_page, server, tmp_path):
    from PIL import Image

    Image.linear_gradient("L").convert("RGB").resize((64, 96)).save(tmp_path / "init.png")
    host_page.tab("img2img")
    search = Search(host_page, "img2img").open("a bridge", denoising_strength=0.6)
    host_page.upload("img2img_image", tmp_path / "init.png")
    host_page.page.wait_for_selector("#img2img_image img")
    search.number("evaluations", 3)
    search.press("start")
    assert "Done: 3 of 3 evaluations" in search.ended("done")
    assert "Denoising strength: 0.6" in host_page.info()
    assert host_page.gallery_images()
